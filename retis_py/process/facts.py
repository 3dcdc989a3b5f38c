"""Events that say how Open vSwitch handed packets on, packed so that many can be sorted by time."""

import struct
from typing import NamedTuple

import msgspec

from retis_py.events.sections.base import U32, U64, Data

Key = tuple[int, int]
"""What identifies a packet: time (ns) and address of its data when it was first seen."""

JOINING = frozenset(
    ("upcall", "upcall_enqueue", "upcall_return", "recv_upcall", "flow_operation", "action_execute")
)
"""Values of ``ovs.event_type`` that series are joined by."""


class OvsFacts(Data):
    """Fields of the section ``ovs`` that series are joined by."""

    event_type: str
    cpu: U32 | None = None
    upcall_ts: U64 | None = None
    upcall_cpu: U32 | None = None
    queue_id: U32 | None = None


class Fact(NamedTuple):
    """An event that may join series."""

    time: int  # ns
    offset: int  # of its line
    extent: int  # see sort_index.Index
    key: Key | None
    ovs: OvsFacts


_decode_facts = msgspec.json.Decoder(OvsFacts).decode
# When the event counts, rank among those of one time; time, offset, extent, whether there is a
# key, key. The facts follow as JSON, and the offset of the piece, added by whoever knows it.
_RECORD = struct.Struct(">QBQQQ?QQ")
_BASE = struct.Struct(">Q")


def pack_fact(fact: Fact) -> bytes:
    """Pack a fact into a record, whose order is that of the times at which facts count.

    A message to user space may be received before the probe at the return of the function that
    queued it has fired, so that ``upcall_enqueue`` counts from its upcall on.
    """
    counts, rank = fact.time, 0
    if fact.ovs.event_type == "upcall_enqueue" and fact.ovs.upcall_ts is not None:
        counts, rank = fact.ovs.upcall_ts, 1
    key = fact.key or (0, 0)
    numbers = (counts, rank, fact.time, fact.offset, fact.extent, fact.key is not None, *key)
    return _RECORD.pack(*numbers) + msgspec.json.encode(fact.ovs)


def based(record: bytes, base: int) -> bytes:
    """Return the record for ``unpack_fact``, its offset being relative to ``base``."""
    return record + _BASE.pack(base)


def unpack_fact(record: bytes) -> Fact:
    """Undo ``pack_fact`` and ``based``."""
    _, _, time, offset, extent, has_key, *key = _RECORD.unpack_from(record)
    (base,) = _BASE.unpack_from(record, len(record) - _BASE.size)
    facts = _decode_facts(record[_RECORD.size : -_BASE.size])
    return Fact(time, base + offset, extent, (key[0], key[1]) if has_key else None, facts)
