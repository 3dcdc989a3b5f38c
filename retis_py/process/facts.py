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
# key, key. The facts follow as JSON.
_RECORD = struct.Struct(">QBQQQ?QQ")
_OFFSET = struct.Struct(">Q")
_OFFSET_PLACE = 17  # in a record


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
    """Return the record with its offset counted from ``base`` on."""
    (offset,) = _OFFSET.unpack_from(record, _OFFSET_PLACE)
    end = _OFFSET_PLACE + _OFFSET.size
    return record[:_OFFSET_PLACE] + _OFFSET.pack(base + offset) + record[end:]


def unpack_fact(record: bytes) -> Fact:
    """Undo ``pack_fact``."""
    _, _, time, offset, extent, has_key, *key = _RECORD.unpack_from(record)
    facts = _decode_facts(record[_RECORD.size :])
    return Fact(time, offset, extent, (key[0], key[1]) if has_key else None, facts)
