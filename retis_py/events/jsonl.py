"""The event file, read: JSON lines, an event each, or a series each when sorted."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from retis_py.errors import EventFileError
from retis_py.events.compat import CURRENT, OLDEST, Version, parse_version
from retis_py.events.escape import escape
from retis_py.events.event import Event
from retis_py.events.lines import UNDECODABLE, LineFormat, is_cut_short, wrong_with
from retis_py.events.sections.startup import Startup
from retis_py.events.source import Source, Span

_log = logging.getLogger(__name__)

# Damaged lines that are told one by one; of the others only how many.
_WARNINGS = 10


class EventFile:
    """An event file open for reading, once from start to end. Closed by ``with`` or ``close()``.

    ``-`` is the standard input. Raises EventFileError from the constructor for what cannot be
    opened or is no event file, and while iterating for a damaged line; with ``keep_going`` such
    lines are skipped with a warning and counted in ``damaged`` (None: there is no option for it
    that an error could point to). A last line cut short, as a killed
    writer leaves it, is logged as a warning and left out.

    ``format`` tells whether lines are series, and the release of retis that wrote the file;
    ``startup`` describes the collection, and is read from ``first_line``.
    """

    path: Path
    format: LineFormat
    startup: Startup
    first_line: bytes
    damaged: int  # lines

    def __init__(self, path: str | Path, *, keep_going: bool | None = None) -> None:
        self.path = Path(path)
        self.damaged = 0
        self._keep_going = keep_going
        self._cut_short: int | None = None  # offset of the last line, if it was left out
        self._source = Source(self.path)
        self.name = self._source.name  # safe to show
        try:
            self._pieces = self._source.pieces()
            self._first = next(self._pieces, b"")
            self._read_first_line()
        except BaseException:
            self._source.close()
            raise

    @property
    def sorted(self) -> bool:
        """Whether lines are series."""
        return self.format.sorted

    @property
    def version(self) -> Version:
        """Release of retis that wrote the file."""
        return self.format.version

    @property
    def source(self) -> Source:
        """Where the bytes come from."""
        return self._source

    def events(self) -> Iterator[Event]:
        """Iterate over all events, the startup event first."""
        for series in self.series():
            yield from series

    def series(self) -> Iterator[list[Event]]:
        """Iterate over all series, that of the startup event first.

        In an unsorted file each event is a series of its own.
        """
        decode = self.format.events
        offset = number = 0
        for piece in self.pieces():
            for line in piece.split(b"\n")[:-1]:
                number += 1
                if line and not line.isspace():
                    try:
                        series = decode(line)
                    except UNDECODABLE as error:
                        self.report_damage(number, offset, wrong_with(error))
                    else:
                        yield series
                offset += len(line) + 1
        self.report_end(number)

    def pieces(self) -> Iterator[bytes]:
        """Iterate over the content, in pieces of whole lines that all end in a newline.

        Whoever reads pieces counts lines, and calls ``report_end`` after the last.
        """
        first, self._first = self._first, b""
        if first:
            yield self._completed(first, 0)
        for piece in self._pieces:
            yield self._completed(piece, self._source.position - len(piece))

    def spans(self, size: int) -> Iterator[Span]:
        """Iterate over the places of such pieces, for ``read_span``: only of a regular file."""
        span = Span(0, 0)
        for span in self._source.spans(size):
            yield span
        self.read_span(span)  # to know here too whether the last line is cut short

    def read_span(self, span: Span) -> bytes:
        """Read the piece at ``span``; may be called in a child process."""
        return self._completed(self._source.read_span(span), span.offset)

    def report_damage(self, number: int, offset: int, what: str) -> None:
        """Raise, or count and warn of, a damaged line: its number from 1, its place in bytes."""
        where = f"{self.name}: line {number} (byte {offset}) {what}"
        if not self._keep_going:
            before = number - 1
            advice = f"; 'head -n {before}' keeps what is before it" if before else ""
            if self._keep_going is not None:
                advice += f"{',' if advice else ';'} --keep-going skips it"
            raise EventFileError(where + advice)
        self.damaged += 1
        if self.damaged <= _WARNINGS:
            _log.warning("%s: skipped", where)

    def report_end(self, lines: int, cut_short: int | None = None) -> None:
        """Warn of what was left out, after ``lines`` lines."""
        offset = self._cut_short if cut_short is None else cut_short
        if offset is not None:
            _log.warning(
                "%s: line %d (byte %d) is cut short and left out; was its writer killed?",
                self.name,
                lines + 1,
                offset,
            )
        if self.damaged > _WARNINGS:
            _log.warning("%s: %s damaged lines were skipped", self.name, f"{self.damaged:,}")

    def close(self) -> None:
        """Close the file; may be called again."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _completed(self, piece: bytes, offset: int) -> bytes:
        """Give the last line its newline, or leave it out where it is cut short."""
        if piece.endswith(b"\n"):
            return piece
        start = piece.rfind(b"\n") + 1
        last = piece[start:]
        try:
            if not last.isspace():
                self.format.events(last)
        except UNDECODABLE as error:
            if is_cut_short(error):
                self._cut_short = offset + start
                return piece[:start]
        return piece + b"\n"

    def _read_first_line(self) -> None:
        """Find out what kind of file this is, from the startup event."""
        line, newline, _ = self._first.partition(b"\n")
        if not line and not newline:
            message = f"{self.name} is empty; it holds no events"
            raise EventFileError(message)
        try:
            raw = msgspec.json.decode(line)
            self.format = LineFormat(self._supported_version(raw), line.startswith(b"["))
            series = self.format.events(line)
        except UNDECODABLE as error:
            if newline or not is_cut_short(error):
                message = f"{self.name}: line 1 (byte 0) {wrong_with(error)}"
                raise EventFileError(message) from None
            message = f"{self.name}: the first line is cut short or no JSON; it holds no events"
            raise EventFileError(message) from None
        startup = series[0].startup
        assert startup is not None  # noqa: S101 (the version was read from it)
        self.startup = startup
        self.first_line = line

    def _supported_version(self, raw: Any) -> Version:
        event = raw[0] if isinstance(raw, list) and raw else raw
        startup = event.get("startup") if isinstance(event, dict) else None
        text = startup.get("retis_version") if isinstance(startup, dict) else None
        if not isinstance(text, str):
            message = (
                f"{self.name} is no event file: its first line is no startup event with a"
                " retis_version"
            )
            raise EventFileError(message)
        version = parse_version(text)
        if version is None:
            message = f"{self.name}: cannot understand the retis version {escape(text[:80])!r}"
            raise EventFileError(message)
        if version.major > CURRENT.major:
            message = (
                f"{self.name} was written by retis {version}, whose format is newer than the"
                f" {CURRENT.major}.x that we read; use a newer retis"
            )
            raise EventFileError(message)
        if version < OLDEST:
            message = (
                f"{self.name} was written by retis {version}; formats before {OLDEST} cannot be"
                " read, use the retis that wrote it"
            )
            raise EventFileError(message)
        return version
