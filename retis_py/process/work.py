"""An event file worked through piece by piece, by one process or several, in order.

What is done with a piece is a function of its bytes. With several processes each reads its own
pieces from the file, so that only places go to it and only results come back. What is done by C
alone is shared out to threads, which need send nothing.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from retis_py.events.jsonl import EventFile
from retis_py.events.source import PIECE_SIZE, Span
from retis_py.process.share import shared_map, threaded_map

# A file smaller than this is read before a second process has begun.
WORTH_SHARING = 32 << 20  # bytes
# Long against sending its place, short against what a core keeps at hand.
_SHARED_PIECE = 512 << 10  # bytes


class Damage(NamedTuple):
    """A line that could not be read."""

    line: int  # of its piece, from 0
    what: str  # is wrong with it


class Done(NamedTuple):
    """What came of a piece."""

    result: Any
    lines: int  # in the piece
    damages: tuple[Damage, ...] = ()


Job = Callable[[bytes], Done]
"""What is done with a piece: whole lines.

Where it has an attribute ``longer``, pieces are so many times longer than is best for others.
"""


@runtime_checkable
class Threadable(Protocol):
    """A job that threads can share, since it runs without Python's lock."""

    def __call__(self, piece: bytes, /) -> Done:
        """Do it."""

    def another(self) -> "Threadable":
        """Return the same job with memory of its own, for another thread."""


Seen = Callable[[int], None]
"""Told how many bytes of the file were worked through."""


def work_through(
    file: EventFile, job: Job, processes: int = 1, seen: Seen | None = None
) -> Iterator[tuple[int, Any]]:
    """Iterate over the pieces of ``file``: offset in bytes, result of ``job``.

    Small files are worked through by this process alone. Damaged lines are reported to the file,
    which may raise EventFileError, after the result of their piece.
    """
    size = file.source.size
    if processes > 1 and size is not None and size >= WORTH_SHARING:
        done = _shared(file, job, processes)
    else:
        done = _alone(file, job)
    lines = 0
    for offset, piece, outcome in done:
        yield offset, outcome.result
        for damage in outcome.damages:
            before = _line_offset(file, piece, damage.line)
            file.report_damage(lines + damage.line + 1, offset + before, damage.what)
        lines += outcome.lines
        if seen is not None:
            seen(offset)
    file.report_end(lines)


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


def _alone(file: EventFile, job: Job) -> Iterator[tuple[int, bytes | Span, Done]]:
    offset = 0
    file.source.piece_size = PIECE_SIZE * _longer(job)
    for piece in file.pieces():
        yield offset, piece, job(piece)
        offset += len(piece)


def _shared(file: EventFile, job: Job, processes: int) -> Iterator[tuple[int, bytes | Span, Done]]:
    spans = file.spans(_SHARED_PIECE * _longer(job))
    if isinstance(job, Threadable):
        jobs = [job, *(job.another() for _ in range(processes - 1))]
        shared = threaded_map([_reading(file, each) for each in jobs], spans)
    else:
        shared = shared_map(_reading(file, job), spans, processes)
    for span, done in shared:
        yield span.offset, span, done


def _reading(file: EventFile, job: Job) -> Callable[[Span], Done]:
    return lambda span: job(file.read_span(span))


def _longer(job: Job) -> int:
    longer: int = getattr(job, "longer", 1)
    return longer


def _line_offset(file: EventFile, piece: bytes | Span, line: int) -> int:
    """Bytes of a piece before its line number ``line``."""
    data = file.read_span(piece) if isinstance(piece, Span) else piece
    return sum(len(each) + 1 for each in data.split(b"\n")[:line])
