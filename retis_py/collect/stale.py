"""Entries of maps that nobody has touched for long: the end of what they stand for was missed.

A tracked packet whose end no probe sees, or that lies in a queue; a call whose return the kernel
had no room to probe, or that blocks.
"""

import struct
import time
from collections.abc import Mapping
from typing import NamedTuple

from retis_py.collect.maps import Map

_INTERVAL = 5.0  # s
_AGE = 60.0  # s
_TIME = struct.Struct("=Q")
_ORDER = struct.Struct("=8xII")  # struct ovs_order: how many went in and came out


class _Aging(NamedTuple):
    """A map whose values hold a time (ns, CLOCK_MONOTONIC) at that offset, and what they are.

    None: it means nothing that one is old. Those in ``order`` stand for all that went in and did
    not come out.
    """

    name: str
    offset: int
    what: str | None
    order: bool = False


# struct tracked, call, followed_call and handled (bpf/core/); bpf/hooks/ovs/ovs.h.
_AGING = (
    _Aging("tracked_packets", 16, "packet(s) not seen for 60 s"),
    _Aging("moving_packets", 16, "packet(s) not seen for 60 s"),
    _Aging("calls", 0, "call(s) that did not return within 60 s"),
    _Aging("followed_calls", 0, "call(s) that did not return within 60 s"),
    _Aging("handled_packets", 0, "call(s) that did not return within 60 s"),
    _Aging("handled_before", 0, "call(s) that did not return within 60 s"),
    _Aging("ovs_upcalls", 0, "call(s) that did not return within 60 s"),
    _Aging("ovs_lookups", 0, "call(s) that did not return within 60 s"),
    _Aging("ovs_executing", 0, "call(s) that did not return within 60 s"),
    _Aging("ovs_queued", 0, "upcall(s) that user space did not receive", order=True),
    _Aging("ovs_executions", 0, None),
    _Aging("ovs_execution_ids", 0, "packet(s) from user space not executed within 60 s"),
    _Aging("ovs_executing_threads", 0, None),
    _Aging("ovs_batches", 0, None),
)


class StaleEntries:
    """Takes them out every 5 s. ``counts`` says how many of what."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._aging = [(maps[aging.name], aging) for aging in _AGING if aging.name in maps]
        self._next = time.monotonic() + _INTERVAL
        self.counts: dict[str, int] = {}

    def collect_if_due(self) -> None:
        """Take out what was not touched for 60 s, if it is time for that."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        # Python's monotonic clock is the program's, CLOCK_MONOTONIC.
        oldest = int((now - _AGE) * 1e9)
        for entries, aging in self._aging:
            for key, value in entries.entries():
                is_old = _TIME.unpack_from(value, aging.offset)[0] < oldest
                if is_old and entries.delete(key):
                    self._count(aging, value)

    def count_rest(self) -> None:
        """Count what went in and will not come out any more, now that nothing is attached."""
        for entries, aging in self._aging:
            if aging.order:
                for _, value in entries.entries():
                    self._count(aging, value)

    def _count(self, aging: _Aging, value: bytes) -> None:
        number = 1
        if aging.order:
            went_in, came_out = _ORDER.unpack(value)
            number = (went_in - came_out) & 0xFFFFFFFF
        if aging.what is not None and number:
            self.counts[aging.what] = self.counts.get(aging.what, 0) + number
