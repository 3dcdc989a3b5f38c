"""What the first pass of a sort found, and the second pass: by the compiled part.

As gathered.py, whose results are the same byte for byte; in place of a table of packets there are
rows of numbers, sorted by packet and then by what the series are ordered by.
"""

import struct
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from retis_py.compiled import address_of, library
from retis_py.events.source import Source
from retis_py.process.fact_rows import FACT, facts_of
from retis_py.process.index_rows import ALONE, ROW, IndexRows, RowIndex
from retis_py.process.joins import Joiner
from retis_py.process.row_sorter import RowSorter
from retis_py.process.series_lines import OFFSET_MASK
from retis_py.process.series_rows import SeriesRows

if TYPE_CHECKING:
    from retis_py.process.sort_index import Flow

_OFFSET, _FACT_OFFSET = 3, 3  # places of the offset in rows
_PLACE = struct.Struct("=5Q")
_AHEAD = 4  # pieces made while one is written


class GatheredRows:
    """Takes what is known of lines (index_rows.py), gives back the lines of a sorted file.

    ``memory`` in bytes is held at most of rows in each order.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._packets = RowSorter(memory, ROW)  # by packet
        self._series = RowSorter(memory, ROW)  # by the first event's time and offset
        self._facts = RowSorter(memory, FACT)
        self._flows: dict[Flow, tuple[int, int]] = {}

    def job(self, *, keep_going: bool) -> IndexRows:
        """Return the job whose results ``add`` takes."""
        return IndexRows(keep_going=keep_going)

    def add(self, index: RowIndex, base: int) -> None:
        """Take what is known of a piece that begins at offset ``base``."""
        self._packets.add(_moved(index.rows, ROW, _OFFSET, base))
        self._facts.add(_moved(index.facts, FACT, _FACT_OFFSET, base))
        alone = _moved(_moved(index.alone, ROW, _OFFSET, base), ROW, 1, base)
        if alone and _PLACE.unpack_from(alone)[_OFFSET] & OFFSET_MASK == 0:
            del alone[: _PLACE.size]  # the startup event
        self._series.add(alone)
        for flow, (offset, size) in index.flows.items():
            self._flows[flow] = (base + offset, size)

    def join(self) -> Counter[str]:
        """Find out which packets and events belong to others' series.

        Returns how many events of Open vSwitch belong to none, by type.
        """
        joiner = Joiner()
        for fact in facts_of(_settled(self._facts)):
            series = joiner.join(fact)
            if fact.key is None:
                time, offset, extent = fact.time, fact.offset, fact.extent
                if series is None:
                    place = _PLACE.pack(time, offset, time, offset, extent | ALONE)
                    self._series.add(place)
                else:
                    self._packets.add(_PLACE.pack(*series, time, offset, extent))
        if joiner.aliases:
            self._rename(joiner)
        return joiner.lost

    def lines(self, sources: Sequence[Source], processes: int) -> Iterator[bytes]:
        """Do the second pass: iterate over pieces of the file, whole lines each.

        With several processes a thread makes the next pieces while one is written.
        """
        self._group()
        write = SeriesRows(sources, self._flows)
        try:
            lines = write.lines(self._series)
            yield from _ahead(lines) if processes > 1 else lines
        finally:
            write.close()

    def close(self) -> None:
        """Remove temporary files; may be called again."""
        for rows in (self._packets, self._series, self._facts):
            rows.close()

    def _rename(self, joiner: Joiner) -> None:
        """Give packets the id of the series that they belong to."""
        pairs = array("Q")
        for key in sorted(joiner.aliases):
            pairs.extend((*key, *joiner.root(key)))
        renamed = RowSorter(self._memory, ROW)
        for rows in self._packets.unsorted():
            count = len(rows) // _PLACE.size
            library.rows_rename(
                address_of(rows), count, pairs.buffer_info()[0], len(joiner.aliases)
            )
            renamed.add(rows)
        self._packets = renamed

    def _group(self) -> None:
        """Make series of packets."""
        state = bytearray(_PLACE.size)
        for rows in self._packets:
            library.rows_group(address_of(rows), len(rows) // _PLACE.size, address_of(state))
            self._series.add(rows)


def _moved(rows: bytes | bytearray, width: int, word: int, base: int) -> bytearray:
    """Return rows whose offset, at a word of each, is counted from ``base`` on."""
    moved = bytearray(rows)
    library.rows_move(address_of(moved), len(moved) // (width * 8), width, word, base)
    return moved


def _settled(blocks: Iterable[bytearray]) -> Iterator[bytearray]:
    """Leave out facts that join nothing."""
    size = FACT * 8
    for facts in blocks:
        count = library.rows_settle(address_of(facts), len(facts) // size)
        yield facts[: count * size]


def _ahead(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Iterate over the same, some ahead: neither side waits for each step of the other."""
    with ThreadPoolExecutor(1) as thread:
        following = deque(thread.submit(next, pieces, None) for _ in range(_AHEAD))
        while (piece := following.popleft().result()) is not None:
            following.append(thread.submit(next, pieces, None))
            yield piece
