"""Events sorted into series: all that happened to a packet, oldest packet first.

Two passes. The first finds out which packet each line is about; what is remembered of a line are
some numbers, which go to temporary files where there are many. The second writes the lines, series
by series. So the series are whole however far apart their events are, and memory is bounded.

Both are done in Python (gathered.py), or by the compiled part where there is one
(gathered_rows.py).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile
from typing import BinaryIO, Self

import msgspec

from retis_py import compiled
from retis_py.events.compat import CURRENT
from retis_py.events.jsonl import EventFile
from retis_py.events.lines import LineFormat
from retis_py.process.current_lines import CurrentLines
from retis_py.process.gathered import Gathered
from retis_py.process.gathered_rows import GatheredRows
from retis_py.process.series_lines import FILE_SHIFT
from retis_py.process.work import WORTH_SHARING, Seen, work_through

SORTED = LineFormat(CURRENT, sorted=True)
"""What the lines are that come out."""

_MEMORY = 64 << 20  # bytes of the table of packets, and of what is put in order


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
        self._gathered: Gathered | GatheredRows = (
            Gathered(_MEMORY) if compiled.library is None else GatheredRows(_MEMORY)
        )
        self._spooled: list[BinaryIO | EventFile] = []
        self._readable: list[EventFile] = []  # twice, and of the current format
        self._size = 0

    def read(self, seen: Seen | None = None) -> None:
        """Do the first pass. ``seen`` is told how many bytes were read of all files."""
        for number, file in enumerate(self._files):
            self._read(file, number << FILE_SHIFT, seen)
        self.lost = self._gathered.join()

    def lines(self) -> Iterator[bytes]:
        """Do the second pass: iterate over pieces of a sorted file, whole lines each."""
        yield _startup_line(self._readable[0])
        processes = self._processes if self._size >= WORTH_SHARING else 1
        sources = [file.source for file in self._readable]
        yield from self._gathered.lines(sources, processes)

    def close(self) -> None:
        """Remove temporary files; may be called again."""
        self._gathered.close()
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
        job = self._gathered.job(keep_going=self._keep_going)
        before = self._size
        told = None if seen is None else lambda size: seen(before + size)
        for offset, index in work_through(file, job, self._processes, told):
            self._gathered.add(index, base + offset)
        self._size += file.source.size or 0

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
