"""Where ``retis collect`` puts events: the event file, the terminal, or both.

Used by the process that decodes (collect/decoding.py).
"""

import importlib
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from retis_py.cli.log import takes_more
from retis_py.errors import EventFileError, RetisError
from retis_py.events.escape import escape
from retis_py.events.event import Event, decode
from retis_py.events.rotate import RotatingWriter, piece_path
from retis_py.events.text import TextFormat
from retis_py.events.writer import EventWriter
from retis_py.process.printer import Printer

log = logging.getLogger(__name__)

_CLEAR = b"\r\x1b[K"


class Outputs:
    """The event file ``out``, in pieces of ``rotate`` bytes if given; text where ``fmt`` is."""

    def __init__(self, out: Path | None, rotate: int | None, fmt: TextFormat | None) -> None:
        self._out = out
        self._rotate = rotate
        self._writer: EventWriter | None = None
        self._printer: Printer | None = None
        self._clears = False
        self._taken = 0
        if fmt is not None:
            if sys.stdout is None:
                raise RetisError(
                    "the standard output is closed: open it, or write to a file with -o"
                )
            # Without its privileges this process may not be able to any more.
            importlib.import_module("retis_py.packet")
            self._printer = Printer(sys.stdout.buffer, fmt)
            # The other process shows its status there.
            self._clears = sys.stdout.isatty() and sys.stderr is not None and sys.stderr.isatty()

    @property
    def wants_events(self) -> bool:
        """Whether there is text to be made of events."""
        return self._printer is not None and not self._printer.closed

    @property
    def closed(self) -> bool:
        """Whether there is no file and nobody reads the text any more."""
        return self._writer is None and self._printer is not None and self._printer.closed

    @property
    def takes_more(self) -> bool:
        """Whether nobody holds up who writes: a full pipe, a terminal that is stopped."""
        file = self._writer is None or self._writer.takes_more
        return file and (not self.wants_events or takes_more(sys.stdout))

    @property
    def written(self) -> int:
        """How many events are in the file."""
        unwritten = self._writer.unwritten if self._writer is not None else 0
        # The startup event, which is not counted, may be among the lines that are not.
        return max(0, self._taken - unwritten)

    @property
    def pieces(self) -> int:
        """How many files a rotated output has become."""
        return self._rotating.pieces if self._rotating else 0

    @property
    def creates_files(self) -> bool:
        """Whether files are created as the collection goes on."""
        return self._rotate is not None

    def open(self, startup: bytes) -> None:
        """Create the event file, or the first of its pieces, with the startup event in it."""
        if self._out is None:
            return
        if self._rotate is None:
            self._writer = EventWriter(self._out)
            self._writer.write_lines(startup + b"\n")
            return
        self._writer = RotatingWriter(self._out, self._rotate, decode(startup))
        if self._out.is_file():
            log.warning(
                "%s of an earlier collection stays beside %s; where no file is named it is"
                " the one that is read",
                escape(str(self._out)),
                escape(str(piece_path(self._out, 0))),
            )

    def events(self, events: Sequence[Event]) -> None:
        """Take events for the file and as text."""
        if self._writer is not None:
            for event in events:
                self._taken += 1
                self._writer.write(event)
        if self._printer is not None:
            if self._clears:
                with suppress(OSError):
                    sys.stdout.buffer.write(_CLEAR)
            for event in events:
                self._printer.event(event)

    def lines(self, lines: bytes) -> None:
        """Take events as lines of the file."""
        if self._writer is None:
            return
        for some in lines.splitlines(keepends=True) if self._rotate is not None else (lines,):
            self._taken += some.count(b"\n")
            self._writer.write_lines(some)

    def flush(self) -> None:
        """Hand all to the file, and to whoever reads the text."""
        if self._writer is not None:
            self._writer.flush()
        if self._printer is not None:
            self._printer.flush()

    @property
    def has_file(self) -> bool:
        """Whether there is an event file."""
        return self._out is not None

    def close(self) -> None:
        """Close the file, which has all."""
        if self._writer is not None:
            self._writer.close()

    def discard(self) -> None:
        """Close the file after a failure.

        A first piece without events goes: the next collection would refuse to replace it.
        """
        if self._writer is not None:
            with suppress(EventFileError):
                self._writer.__exit__(EventFileError, None, None)

    @property
    def _rotating(self) -> RotatingWriter | None:
        return self._writer if isinstance(self._writer, RotatingWriter) else None
