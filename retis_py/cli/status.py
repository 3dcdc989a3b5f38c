"""The live status line of a collection, on a terminal."""

import sys
import time

from retis_py.cli.log import takes_more
from retis_py.collect.losses import Losses

_INTERVAL = 0.5  # s
_CLEAR = "\r\x1b[K"


class StatusLine:
    """``1,234 events (56/s), none lost`` on standard error; nothing where that is no terminal."""

    def __init__(self) -> None:
        self.enabled = sys.stderr is not None and sys.stderr.isatty()
        self._shown = False
        self._next = time.monotonic() + _INTERVAL
        self._then = (time.monotonic(), 0)

    @property
    def due(self) -> bool:
        """Whether it is time for a new one."""
        return self.enabled and time.monotonic() >= self._next

    def show(self, events: int, losses: Losses) -> None:
        """Write the line in place of the one before."""
        now = time.monotonic()
        then, before = self._then
        rate = (events - before) / (now - then) if now > then else 0.0
        self._then, self._next = (now, events), now + _INTERVAL
        lost = f"{losses.total():,} lost" if losses else "none lost"
        self._write(f"{_CLEAR}{events:,} events ({rate:,.0f}/s), {lost}")
        self._shown = True

    def clear(self) -> None:
        """Take the line away, before anything else is written to the terminal."""
        if self._shown:
            self._write(_CLEAR)
            self._shown = False

    def _write(self, text: str) -> None:
        """Write, but never wait for a terminal that is stopped (Ctrl-S)."""
        if not takes_more(sys.stderr):
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal was closed
            self.enabled = False
