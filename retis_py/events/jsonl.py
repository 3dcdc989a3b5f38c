"""The event file, read and written: JSON lines, an event each, or a series each when sorted."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

from retis_py.errors import EventFileError
from retis_py.events.compat import CURRENT, OLDEST, Version, parse_version, upgrade
from retis_py.events.escape import escape
from retis_py.events.event import Event, decode, decode_series, encode_into
from retis_py.events.sections.startup import Startup

_log = logging.getLogger(__name__)

# A series of ten thousand events is about 10 MiB. More than this on a line is no event file, and
# reading on would end in a lack of memory.
MAX_LINE = 256 << 20
_WRITE_SIZE = 128 << 10

# What decoding raises for bytes that are no event, or not even JSON.
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class EventFile:
    """An event file open for reading, once from start to end. Closed by ``with`` or ``close()``.

    Raises EventFileError from the constructor for what cannot be opened or is no event file, and
    while iterating for a damaged line. A last line cut short, as a killed writer leaves it, is
    logged as a warning and skipped.

    ``sorted`` tells whether the lines are series. ``startup`` describes the collection, and
    ``version`` is the release of retis that wrote the file.
    """

    path: Path
    sorted: bool
    startup: Startup
    version: Version

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._name = escape(str(path))
        self._line_number = 0
        self._offset = 0  # of the line read last, in bytes
        self._next_offset = 0
        self._file = self._open()
        try:
            self._first = self._read_first_line()
        except BaseException:
            self._file.close()
            raise

    def events(self) -> Iterator[Event]:
        """Iterate over all events, the startup event first."""
        for series in self.series():
            yield from series

    def series(self) -> Iterator[list[Event]]:
        """Iterate over all series, that of the startup event first.

        In an unsorted file each event is a series of its own.
        """
        first, self._first = self._first, []
        if first:
            yield first
        while line := self._read_line():
            if line.isspace():
                continue
            try:
                series = self._decode(line)
            except _UNDECODABLE as error:
                if line.endswith(b"\n") or isinstance(error, msgspec.ValidationError):
                    raise self._damaged(error) from None
                _log.warning(
                    "%s: line %d (byte %d) is cut short and left out; was its writer killed?",
                    self._name,
                    self._line_number,
                    self._offset,
                )
                return
            yield series

    def close(self) -> None:
        """Close the file; may be called again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb", buffering=1 << 18)
        except FileNotFoundError:
            message = f"cannot read {self._name}: no such file; collect events into it first"
            raise EventFileError(message) from None
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None

    def _read_first_line(self) -> list[Event]:
        """Find out what kind of file this is, from the startup event."""
        line = self._read_line()
        if not line:
            message = f"{self._name} is empty; it holds no events"
            raise EventFileError(message)
        self.sorted = line.startswith(b"[")
        try:
            raw = msgspec.json.decode(line)
            self.version = self._supported_version(raw)
            series = self._decode(line)
        except _UNDECODABLE as error:
            if line.endswith(b"\n") or isinstance(error, msgspec.ValidationError):
                raise self._damaged(error) from None
            message = f"{self._name}: the first line is cut short or no JSON; it holds no events"
            raise EventFileError(message) from None
        startup = series[0].startup
        assert startup is not None  # noqa: S101 (the version was read from it)
        self.startup = startup
        return series

    def _supported_version(self, raw: Any) -> Version:
        event = raw[0] if isinstance(raw, list) and raw else raw
        startup = event.get("startup") if isinstance(event, dict) else None
        text = startup.get("retis_version") if isinstance(startup, dict) else None
        if not isinstance(text, str):
            message = (
                f"{self._name} is no event file: its first line is no startup event with a"
                " retis_version"
            )
            raise EventFileError(message)
        version = parse_version(text)
        if version is None:
            message = f"{self._name}: cannot understand the retis version {escape(text[:80])!r}"
            raise EventFileError(message)
        if version.major > CURRENT.major:
            message = (
                f"{self._name} was written by retis {version}, whose format is newer than the"
                f" {CURRENT.major}.x that we read; use a newer retis"
            )
            raise EventFileError(message)
        if version < OLDEST:
            message = (
                f"{self._name} was written by retis {version}; formats before {OLDEST} cannot be"
                " read, use the retis that wrote it"
            )
            raise EventFileError(message)
        return version

    def _decode(self, line: bytes) -> list[Event]:
        """Type one line, through the old formats' fix-ups where the file is old."""
        if self.version >= CURRENT:
            return self._not_empty(decode_series(line)) if self.sorted else [decode(line)]
        raw = msgspec.json.decode(line)
        events = raw if self.sorted else [raw]
        for event in events if isinstance(events, list) else ():
            if isinstance(event, dict):
                upgrade(event, self.version)
        return self._not_empty(msgspec.convert(events, list[Event]))

    def _not_empty(self, series: list[Event]) -> list[Event]:
        if not series:
            raise msgspec.ValidationError("A series without events")
        return series

    def _read_line(self) -> bytes:
        self._line_number += 1
        self._offset = self._next_offset
        try:
            line = self._file.readline(MAX_LINE + 1)
        except OSError as error:
            raise self._unreadable(error) from None
        if len(line) > MAX_LINE:
            message = (
                f"{self._name}: line {self._line_number} is longer than {MAX_LINE >> 20} MiB;"
                " this is no event file"
            )
            raise EventFileError(message)
        self._next_offset += len(line)
        return line

    def _unreadable(self, error: OSError | ValueError) -> EventFileError:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return EventFileError(f"cannot read {self._name}: {reason}")

    def _damaged(self, error: Exception) -> EventFileError:
        """Word what is wrong with the line read last."""
        what = "is no event" if isinstance(error, msgspec.ValidationError) else "is not JSON"
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        before = self._line_number - 1
        advice = f"; 'head -n {before}' keeps what is before it" if before else ""
        return EventFileError(
            f"{self._name}: line {self._line_number} (byte {self._offset}) {what}:"
            f" {escape(reason)}{advice}"
        )


class EventWriter:
    """An event file open for writing; an older one of that name is replaced.

    Lines are buffered: ``flush()`` and ``close()`` bring them to the kernel. Raises EventFileError
    when the file cannot be created or written; what could not be written stays buffered.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._name = escape(str(path))
        self._buffer = bytearray()
        try:
            self._file = self.path.open("wb", buffering=0)
        except (OSError, ValueError) as error:
            raise self._failed("create", error) from None

    def write(self, event: Event) -> None:
        """Append an event."""
        buffer = self._buffer
        encode_into(event, buffer, -1)
        buffer += b"\n"
        if len(buffer) >= _WRITE_SIZE:
            self.flush()

    def write_series(self, series: Iterable[Event]) -> None:
        """Append a series, for a sorted file."""
        buffer = self._buffer
        encode_into(list(series), buffer, -1)
        buffer += b"\n"
        if len(buffer) >= _WRITE_SIZE:
            self.flush()

    def write_lines(self, lines: bytes) -> None:
        """Append lines that are encoded already, each with its newline."""
        self._buffer += lines
        if len(self._buffer) >= _WRITE_SIZE:
            self.flush()

    @property
    def unwritten(self) -> int:
        """How many lines are not, or not wholly, in the file yet."""
        return self._buffer.count(b"\n")

    def flush(self) -> None:
        """Write what is buffered."""
        while self._buffer:
            try:
                written = self._file.write(self._buffer)
            except OSError as error:
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

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _failed(self, action: str, error: OSError | ValueError) -> EventFileError:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        left = f"; {len(self._buffer)} bytes of events are not in it" if self._buffer else ""
        return EventFileError(f"cannot {action} {self._name}: {reason}{left}")
