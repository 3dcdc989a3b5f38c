"""What the commands that read event files share: options, progress, the order of files."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Self

import click

from retis_py import compiled
from retis_py.cli import spool_input  # noqa: F401 (to read spools too)
from retis_py.errors import EventFileError
from retis_py.events.inputs import find_inputs
from retis_py.events.jsonl import EventFile
from retis_py.events.source import begins_with_spool
from retis_py.process.work import usable_cpus

_log = logging.getLogger(__name__)

_PATIENCE = 2.0  # s that a person waits without being told
_MOST_JOBS = 256  # each is a process and a pipe


@dataclass(frozen=True, slots=True)
class Reading:
    """Which files to read, and how."""

    paths: list[Path]
    keep_going: bool
    jobs: int

    def files(self) -> Iterator[EventFile]:
        """Open the files one after the other; each is closed when the next is asked for.

        Raises EventFileError, also where one is sorted and another is not.
        """
        is_sorted = None
        for path in self.paths:
            with EventFile(path, keep_going=self.keep_going) as file:
                if is_sorted is not None and file.sorted != is_sorted:
                    raise EventFileError(
                        f"{file.name} {'is' if file.sorted else 'is not'} sorted, unlike the file"
                        " before it; name one file alone"
                    )
                is_sorted = file.sorted
                yield file


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``FILE``, ``--keep-going`` and ``--jobs`` to a command, given to it as ``reading``."""

    @click.argument("file", required=False, type=click.Path(readable=False, path_type=Path))
    @click.option("--keep-going", is_flag=True, help="Skip damaged lines, and say how many.")
    @click.option(
        "-j",
        "--jobs",
        metavar="N",
        type=click.IntRange(1, _MOST_JOBS),
        help="Processes to share a large file out to. [default: as many as there are CPUs]",
    )
    @wraps(command)
    def with_reading(
        *args: Any, file: Path | None, keep_going: bool, jobs: int | None, **kwargs: Any
    ) -> None:
        _log.debug("the compiled part %s", "is used" if compiled.library else compiled.WHY_NOT)
        reading = Reading(find_inputs(file), keep_going, jobs or usable_cpus())
        command(*args, reading=reading, **kwargs)

    return with_reading


def _size(path: Path) -> int:
    """Bytes to be read from a regular file, as far as that is known before."""
    try:
        if not path.is_file():
            return 0
        with path.open("rb", buffering=0) as file:
            return 0 if begins_with_spool(file) else path.stat().st_size
    except OSError:  # whoever opens it says why
        return 0


class Progress:
    """A bar on standard error, for reading that takes long while nothing else is seen.

    Taken away by ``end()``, or at the end of a ``with`` block, so that no error stands behind it.
    """

    def __init__(self, reading: Reading, *, hidden: bool) -> None:
        self._enabled = not hidden and sys.stderr is not None and sys.stderr.isatty()
        self._total = sum(map(_size, reading.paths))
        self._begun = time.monotonic()
        self._bar: Any = None
        self._at = 0
        self._before = 0  # size of the files that are done

    def seen(self, position: int) -> None:
        """Show that a file was read up to ``position``, in bytes."""
        if not self._enabled or not self._total:
            return
        at = self._before + position
        if self._bar is None:
            if time.monotonic() - self._begun < _PATIENCE:
                return
            self._bar = click.progressbar(length=self._total, label="reading", file=sys.stderr)
            self._at = 0
        self._bar.update(at - self._at)
        self._at = at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def next_file(self, size: int) -> None:
        """Go on with the next file, after one of ``size`` bytes."""
        self._before += size

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._bar = None
