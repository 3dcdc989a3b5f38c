"""Places of events, gathered by packet and put in order, in bounded memory."""

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from retis_py.process.external import ExternalSorter
from retis_py.process.facts import Key

# What a packet takes in the table beside its places: key, array, slot.
_PACKET_SIZE = 450  # bytes
_NUMBERS = 3  # a place: time, offset, extent
_NUMBER_SIZE = 8

_KEY = struct.Struct(">QQ")
# Time and offset of the first event, key, whether there is one. What happened at the same time
# stays in the order of the file.
_ORDER = struct.Struct(">QQQQ?")


class Series(NamedTuple):
    """Events that belong together. The key is None for an event that stands alone."""

    key: Key | None
    places: "array[int]"  # in order of time


class Packets:
    """Takes places of events as they come up, gives series back, the oldest first.

    ``memory`` bytes are held at most in either of two steps, the rest goes to temporary files.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._table: dict[Key, array[int]] = {}
        self._size = 0
        self._gathered = ExternalSorter(memory)  # what did not fit into the table
        self._spilled = False
        self._ordered = ExternalSorter(memory)

    def add(self, key: Key, places: "array[int]") -> None:
        """Take events of a packet."""
        known = self._table.get(key)
        if known is None:
            self._table[key] = places
            self._size += _PACKET_SIZE
        else:
            known.extend(places)
        self._size += len(places) * _NUMBER_SIZE
        if self._size > self._memory:
            self._spill()

    def add_alone(self, places: "array[int]") -> None:
        """Take events that belong to no packet."""
        for start in range(0, len(places), _NUMBERS):
            place = places[start : start + _NUMBERS]
            self._ordered.add(_ORDER.pack(place[0], place[1], 0, 0, False) + place.tobytes())

    def rename(self, root: Callable[[Key], Key], changed: Iterable[Key]) -> None:
        """Let the packets ``changed`` belong to others' series: ``root`` tells to whose."""
        for key in changed:
            places = self._table.pop(key, None)
            if places is not None:
                self.add(root(key), places)
        if self._spilled:
            gathered = ExternalSorter(self._memory)
            for record in self._gathered:
                key = root(_KEY.unpack_from(record))
                gathered.add(_KEY.pack(*key) + record[_KEY.size :])
            self._gathered = gathered

    def series(self) -> Iterator[Series]:
        """Iterate over the series, once."""
        if self._spilled:
            self._spill()
            for head, records in groupby(self._gathered, key=itemgetter(slice(_KEY.size))):
                places = array("Q")
                for record in records:
                    places.frombytes(record[_KEY.size :])
                self._order(_KEY.unpack(head), places)
        else:
            while self._table:
                self._order(*self._table.popitem())
        for record in self._ordered:
            _, _, *key, has_key = _ORDER.unpack_from(record)
            places = array("Q", record[_ORDER.size :])
            yield Series((key[0], key[1]) if has_key else None, places)

    def close(self) -> None:
        """Remove the temporary files; may be called again."""
        self._gathered.close()
        self._ordered.close()

    def _order(self, key: Key, places: "array[int]") -> None:
        times = places[::_NUMBERS].tolist()
        # What was spilled, or joined later, does not come in the order of the file.
        if times != sorted(times) or len({*times}) < len(times):
            places = _in_time(places)
        self._ordered.add(_ORDER.pack(places[0], places[1], *key, True) + places.tobytes())

    def _spill(self) -> None:
        for key, places in self._table.items():
            self._gathered.add(_KEY.pack(*key) + places.tobytes())
        self._table.clear()
        self._size = 0
        self._spilled = True


def _in_time(places: "array[int]") -> "array[int]":
    """Sort places by time, those of the same time by offset."""
    numbers = iter(places)
    return array("Q", [n for place in sorted(zip(numbers, numbers, numbers)) for n in place])  # noqa: B905
