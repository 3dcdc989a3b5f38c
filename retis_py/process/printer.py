"""Events and series to text on a stream."""

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from typing import BinaryIO

from msgspec.structs import replace

from retis_py.errors import RetisError
from retis_py.events.event import Event
from retis_py.events.text import TextFormat, event_text, series_text

_WRITE_SIZE = 64 << 10  # characters


class Printer:
    """Writes events as text to a buffered binary stream, in UTF-8 whatever the locale.

    In multi-line format an empty line follows each event or series. The clock offset for UTC is
    taken from the startup events that come by. Text is held back until ``flush()``, which does
    not close the stream.

    When nobody reads the stream any more (``retis print | head``, a terminal that was closed),
    ``closed`` becomes true and all further text is dropped. Other failures raise RetisError.
    """

    closed: bool

    def __init__(self, stream: BinaryIO, fmt: TextFormat) -> None:
        self.closed = False
        self._stream = stream
        self._fmt = fmt
        self._end = "\n\n" if fmt.multi_line else "\n"
        self._texts: list[str] = []
        self._size = 0

    def event(self, event: Event) -> None:
        """Print an event."""
        self._see_startup(event)
        self._add(event_text(event, self._fmt))

    def series(self, series: Sequence[Event]) -> None:
        """Print a series, whose events after the first are indented."""
        if series:
            self._see_startup(series[0])
            self._add(series_text(series, self._fmt))

    def flush(self) -> None:
        """Hand all text to whoever reads the stream."""
        self._write()
        if self.closed:
            return
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _see_startup(self, event: Event) -> None:
        if event.startup is not None:
            offset = event.startup.clock_monotonic_offset.ns
            self._fmt = replace(self._fmt, clock_offset=offset)

    def _add(self, text: str) -> None:
        self._texts += (text, self._end)
        self._size += len(text)
        if self._size >= _WRITE_SIZE:
            self._write()

    def _write(self) -> None:
        data = "".join(self._texts).encode()
        self._texts.clear()
        self._size = 0
        if self.closed:
            return
        try:
            self._stream.write(data)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        """Drop what the stream still holds, since its flush at exit would fail once more."""
        unread = isinstance(error, BrokenPipeError) or self._is_closed_terminal(error)
        with contextlib.suppress(OSError, ValueError):  # a stream in memory has no descriptor
            null = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(null, self._stream.fileno())
            finally:
                os.close(null)
        self.closed = True
        if not unread:
            message = f"cannot write the events as text: {error.strerror or error}"
            raise RetisError(message) from None

    def _is_closed_terminal(self, error: OSError) -> bool:
        # tty(4): EIO after a hang-up; of a file it would be a damaged disk.
        try:
            mode = os.fstat(self._stream.fileno()).st_mode
        except (OSError, ValueError):
            return False
        return error.errno == errno.EIO and stat.S_ISCHR(mode)
