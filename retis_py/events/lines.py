"""One line of an event file: brought to the current format, typed, and what is wrong with it."""

from typing import NamedTuple

import msgspec

from retis_py.events.compat import CURRENT, Version, upgrade
from retis_py.events.escape import escape
from retis_py.events.event import Event, decode, decode_series

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no event, or not even JSON."""


class LineFormat(NamedTuple):
    """How to read the lines of a file."""

    version: Version  # of retis that wrote it
    sorted: bool  # a series on a line, not an event

    @property
    def is_current(self) -> bool:
        """Whether lines can be used as they are."""
        return self.version >= CURRENT

    def events(self, line: bytes) -> list[Event]:
        """Type a line: a series, or one event. Raises the errors of UNDECODABLE."""
        if not self.sorted:
            return [decode(self.current(line))]
        series = decode_series(self.current(line))
        if not series:
            raise msgspec.ValidationError("A series without events")
        return series

    def current(self, line: bytes) -> bytes:
        """Return the line in the format of today, without typing it."""
        if self.is_current:
            return line
        raw = msgspec.json.decode(line)
        for event in raw if self.sorted and isinstance(raw, list) else (raw,):
            if isinstance(event, dict):
                upgrade(event, self.version)
        return msgspec.json.encode(raw)


def wrong_with(error: Exception) -> str:
    """Word what ``error``, of UNDECODABLE, says about a line: ``is not JSON: REASON``."""
    what = "is no event" if isinstance(error, msgspec.ValidationError) else "is not JSON"
    reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
    return f"{what}: {escape(reason)}"


def is_cut_short(error: Exception) -> bool:
    """Whether a last line without newline that raised ``error`` is what a killed writer leaves."""
    return not isinstance(error, msgspec.ValidationError)
