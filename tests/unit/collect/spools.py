"""Spools made by hand, of real collections' layout, with records that say which one they are."""

import struct
from collections.abc import Sequence
from pathlib import Path

from retis_py.collect.describe import describe
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.plan import Plan
from retis_py.collect.ring import Batch, RecordSource, record_bytes
from retis_py.collect.spool import Spool, create_spool
from retis_py.events.event import Event, encode
from retis_py.events.sections.common import Common
from retis_py.events.sections.startup import Machine, Startup, TimeSpec
from retis_py.events.wire import HEADER

_HEADER = struct.Struct("=" + HEADER.format)
TRACEPOINT = 2  # enum probe_type of bpf/core/context.h

STARTUP = Event(
    Common(1),
    startup=Startup("v1.7.0", "retis collect", TimeSpec(0, 0), machine=Machine("6", "#1", "x86")),
)


def record(time: int, number: int, extra: bytes = b"") -> bytes:
    """An event without parts; its process id is a number of our choice."""
    return _HEADER.pack(time, 0, 0, 0, number, number, 0, 0, TRACEPOINT, b"task") + extra


class Ring(RecordSource):
    """A ring in memory: records, as a kernel would have put them there."""

    def __init__(self, records: Sequence[bytes] = (), *, busy: bool = False) -> None:
        self.data = b"".join(map(record_bytes, records))
        self.busy = busy  # behind these a record is being written

    def add(self, *records: bytes) -> None:
        self.data += b"".join(map(record_bytes, records))

    def peek(self, limit: int) -> Batch:
        at = count = 0
        limited = False
        while at < len(self.data):
            length = int.from_bytes(self.data[at : at + 4], "little")
            after = at + (length + 8 + 7 & ~7)
            if after > limit:
                limited = True
                break
            at, count = after, count + 1
        return Batch(self.data[:at], count, not limited and not self.busy, limited)

    def advance(self, size: int) -> None:
        self.data = self.data[size:]

    def close(self) -> None:
        pass


def new_spool(path: Path, plan: Plan, rings: int, limit: int = 1 << 20) -> Spool:
    """A spool beside ``path`` with its description."""
    spool = create_spool(path, limit)
    known = KnownProbes(plan.probes)
    spool.describe(describe(plan, known, encode(STARTUP), rings))
    return spool
