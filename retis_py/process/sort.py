"""Events sorted into series: all that happened to a packet, oldest packet first.

Two passes. The first finds out which packet each line is about (sort_index.py); what is remembered
of a line are three numbers, which go to temporary files where there are many (packets.py). The
second writes the lines, series by series (series_lines.py). So the series are whole however far
apart their events are, and memory is bounded.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import BinaryIO, Self

import msgspec

from retis_py.events.compat import CURRENT
from retis_py.events.jsonl import EventFile
from retis_py.events.lines import LineFormat
from retis_py.process.current_lines import CurrentLines
from retis_py.process.external import ExternalSorter
from retis_py.process.facts import based, unpack_fact
from retis_py.process.joins import Joiner
from retis_py.process.packets import Packets, Series
from retis_py.process.series_lines import FILE_SHIFT, OFFSET_MASK, SeriesLines
from retis_py.process.share import shared_map
from retis_py.process.sort_index import Flow, Index, IndexLines
from retis_py.process.work import WORTH_SHARING, Seen, work_through

SORTED = LineFormat(CURRENT, sorted=True)
"""What the lines are that come out."""

_MEMORY = 64 << 20  # bytes of the table of packets, and of what is put in order
_BATCH = 1000  # events written at a time


class Sorter:
    """Sorts the events of unsorted files, the parts of one collection. To be closed, by ``with``.

    Raises EventFileError as reading does. With several processes both passes are shared out.

    ``lost`` counts events of Open vSwitch whose packet cannot be told, by type.
    """

    lost: Counter[str]

    def __init__(
        self, files: Sequence[EventFile], *, keep_going: bool = False, processes: int = 1
    ) -> None:
        self._files = files
        self._keep_going = keep_going
        self._processes = processes
        self.lost = Counter()
        self._packets = Packets(_MEMORY)
        self._facts = ExternalSorter(_MEMORY)
        self._flows: dict[Flow, tuple[int, int]] = {}
        self._spooled: list[BinaryIO | EventFile] = []
        self._readable: list[EventFile] = []  # twice, and of the current format
        self._size = 0

    def read(self, seen: Seen | None = None) -> None:
        """Do the first pass. ``seen`` is told how many bytes were read of all files."""
        for number, file in enumerate(self._files):
            self._read(file, number << FILE_SHIFT, seen)
        self._join()

    def lines(self) -> Iterator[bytes]:
        """Do the second pass: iterate over pieces of a sorted file, whole lines each."""
        yield _startup_line(self._readable[0])
        write = SeriesLines([file.source for file in self._readable], self._flows)
        try:
            processes = self._processes if self._size >= WORTH_SHARING else 1
            for _, lines in shared_map(write, _batches(self._packets.series()), processes):
                yield lines
        finally:
            write.close()

    def close(self) -> None:
        """Remove temporary files; may be called again."""
        self._packets.close()
        self._facts.close()
        for spooled in self._spooled:
            spooled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, file: EventFile, base: int, seen: Seen | None) -> None:
        """Look at all lines of a file, whose offsets are counted from ``base``."""
        if file.source.size is None or not file.format.is_current:
            file = self._spool(file)
        self._readable.append(file)
        job = IndexLines(keep_going=self._keep_going)
        before = self._size
        told = None if seen is None else lambda size: seen(before + size)
        for offset, index in work_through(file, job, self._processes, told):
            self._add(index, base + offset)
        self._size += file.source.size or 0

    def _add(self, index: Index, base: int) -> None:
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

    def _join(self) -> None:
        """Find out which packets and events belong to others' series."""
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
        self.lost = joiner.lost

    def _spool(self, file: EventFile) -> EventFile:
        """Copy a file that cannot be read twice, or is of an old format, to a temporary one."""
        spooled = TemporaryFile(prefix="retis-sort-")  # noqa: SIM115 (closed by close())
        self._spooled.append(spooled)
        for _, lines in work_through(file, CurrentLines(file.format, keep_going=self._keep_going)):
            spooled.write(lines)
        spooled.flush()
        copy = EventFile(f"/proc/self/fd/{spooled.fileno()}")
        self._spooled.append(copy)
        return copy


def _startup_line(file: EventFile) -> bytes:
    """Return the startup event of a sorted file, which is no part of a rotated output any more."""
    event = msgspec.json.decode(file.first_line)
    event["startup"].pop("split_file", None)
    return b"[" + msgspec.json.encode(event) + b"]\n"


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
