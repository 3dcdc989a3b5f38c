"""Tracked packets that nobody has seen for long: their end was missed, or they lie in a queue."""

import struct
import time

from retis_py.collect.loader import Map

_INTERVAL = 5.0  # s
_AGE = 60.0  # s
_LAST_SEEN = struct.Struct("=16xQ")  # struct tracked: timestamp, orig_head, last_seen


class StaleEntries:
    """Takes them out every 5 s, and counts them."""

    def __init__(self, *maps: Map) -> None:
        self._maps = maps
        self._next = time.monotonic() + _INTERVAL
        self.count = 0

    def collect_if_due(self) -> None:
        """Take out what was not seen for 60 s, if it is time for that."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        # Python's monotonic clock is the program's, CLOCK_MONOTONIC.
        oldest = int((now - _AGE) * 1e9)
        for tracked in self._maps:
            for key, value in tracked.entries():
                if _LAST_SEEN.unpack(value)[0] < oldest and tracked.delete(key):
                    self.count += 1
