"""The event file, written: JSON lines, an event each, or a series each when sorted."""

import select
from collections.abc import Callable, Iterable
from io import FileIO
from pathlib import Path
from typing import Self

from retis_py.errors import EventFileError
from retis_py.events.escape import escape
from retis_py.events.event import Event, encode_into
from retis_py.private_files import open_for_writing

_WRITE_SIZE = 128 << 10


class EventWriter:
    """An event file open for writing; an older one of that name is replaced.

    A new one is this user's alone (retis_py/private_files.py).

    Lines are buffered: ``flush()`` and ``close()`` bring them to the kernel. Raises EventFileError
    when the file cannot be created or written; what could not be written stays buffered.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._buffer = bytearray()
        self._create()

    def write(self, event: Event) -> None:
        """Append an event."""
        buffer = self._buffer
        start = len(buffer)
        encode_into(event, buffer, -1)
        buffer += b"\n"
        self._added(start)

    def write_series(self, series: Iterable[Event]) -> None:
        """Append a series, for a sorted file."""
        buffer = self._buffer
        start = len(buffer)
        encode_into(list(series), buffer, -1)
        buffer += b"\n"
        self._added(start)

    def write_lines(self, lines: bytes) -> None:
        """Append lines that are encoded already, each with its newline."""
        start = len(self._buffer)
        self._buffer += lines
        self._added(start)

    @property
    def unwritten(self) -> int:
        """How many lines are not, or not wholly, in the file yet."""
        return self._buffer.count(b"\n")

    @property
    def takes_more(self) -> bool:
        """Whether something can be written now without a wait: it may be a pipe."""
        try:
            return bool(select.select([], [self._file], [], 0)[1])
        except (OSError, ValueError):
            return True

    def flush(self) -> None:
        """Write what is buffered."""
        while self._buffer:
            try:
                written = self._file.write(self._buffer)
            except (OSError, ValueError) as error:  # the latter for a closed file
                raise self._failed("write", error) from None
            del self._buffer[:written]

    def close(self) -> None:
        """Write what is buffered and close the file, the latter even if the former fails.

        May be called again.
        """
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            try:
                self._file.close()
            except OSError as error:
                raise self._failed("write", error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create(self) -> None:
        """Create the first file that lines go to."""
        self._open(self.path, open_for_writing)

    def _open(self, path: Path, opened: Callable[[Path], int]) -> None:
        self._name = escape(str(path))
        try:
            self._file = FileIO(opened(path), "w")
        except (OSError, ValueError) as error:
            raise self._failed("create", error) from None

    def _added(self, start: int) -> None:  # noqa: ARG002 (for those who rotate)
        """Write where much is buffered; what was just added begins at ``start``."""
        if len(self._buffer) >= _WRITE_SIZE:
            self.flush()

    def _failed(self, action: str, error: OSError | ValueError) -> EventFileError:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        left = f"; {len(self._buffer)} bytes of events are not in it" if self._buffer else ""
        return EventFileError(f"cannot {action} {self._name}: {reason}{left}")
