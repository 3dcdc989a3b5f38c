"""What the first pass of a sort found, and the second pass: in Python."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from retis_py.events.source import Source
from retis_py.process.external import ExternalSorter
from retis_py.process.facts import based, unpack_fact
from retis_py.process.joins import Joiner
from retis_py.process.packets import Packets, Series
from retis_py.process.series_lines import OFFSET_MASK, SeriesLines
from retis_py.process.share import shared_map
from retis_py.process.sort_index import Flow, Index, IndexLines

_BATCH = 1000  # events written at a time


class Gathered:
    """Takes what is known of lines (sort_index.py), gives back the lines of a sorted file.

    ``memory`` in bytes is that of the table of packets, and of what is put in order; beyond that
    temporary files are used (packets.py).
    """

    def __init__(self, memory: int) -> None:
        self._packets = Packets(memory)
        self._facts = ExternalSorter(memory)
        self._flows: dict[Flow, tuple[int, int]] = {}

    def job(self, *, keep_going: bool) -> IndexLines:
        """Return the job whose results ``add`` takes."""
        return IndexLines(keep_going=keep_going)

    def add(self, index: Index, base: int) -> None:
        """Take what is known of a piece that begins at offset ``base``."""
        packets = self._packets
        for key, places in index.packets.items():
            packets.add(key, _moved(places, base))
        alone = _moved(index.alone, base)
        if alone and alone[1] & OFFSET_MASK == 0:
            del alone[:3]  # the startup event
        packets.add_alone(alone)
        for fact in index.facts:
            self._facts.add(based(fact, base))
        for flow, (offset, size) in index.flows.items():
            self._flows[flow] = (base + offset, size)

    def join(self) -> Counter[str]:
        """Find out which packets and events belong to others' series.

        Returns how many events of Open vSwitch belong to none, by type.
        """
        joiner = Joiner()
        for record in self._facts:
            fact = unpack_fact(record)
            series = joiner.join(fact)
            if fact.key is None:
                place = array("Q", (fact.time, fact.offset, fact.extent))
                if series is None:
                    self._packets.add_alone(place)
                else:
                    self._packets.add(series, place)
        if joiner.aliases:
            self._packets.rename(joiner.root, joiner.aliases)
        return joiner.lost

    def lines(self, sources: Sequence[Source], processes: int) -> Iterator[bytes]:
        """Do the second pass, shared out: iterate over pieces of the file, whole lines each."""
        write = SeriesLines(sources, self._flows)
        try:
            for _, lines in shared_map(write, _batches(self._packets.series()), processes):
                yield lines
        finally:
            write.close()

    def close(self) -> None:
        """Remove temporary files; may be called again."""
        self._packets.close()
        self._facts.close()


def _moved(places: "array[int]", base: int) -> "array[int]":
    """Return the places with their offsets counted from ``base`` on."""
    if base:
        places[1::3] = array("Q", [offset + base for offset in places[1::3]])
    return places


def _batches(all_series: Iterable[Series]) -> Iterator[list[Series]]:
    """Put series together, so that they are sent about and written many at a time."""
    batch: list[Series] = []
    numbers = 0
    for series in all_series:
        batch.append(series)
        numbers += len(series.places)
        if numbers >= 3 * _BATCH:
            yield batch
            batch, numbers = [], 0
    if batch:
        yield batch
