"""Facts (facts.py) as rows of ten numbers of 64 bits, in the order in which they count.

When it counts, rank among those of one time; time, offset, extent; key; what it is; ``upcall_ts``;
``upcall_cpu`` and ``queue_id``. retis_py/native/rows.h has the same.
"""

from collections.abc import Iterable, Iterator
from struct import Struct

from retis_py.process.facts import Fact, Key, OvsFacts

KINDS = (
    "upcall",
    "upcall_enqueue",
    "upcall_return",
    "recv_upcall",
    "flow_operation",
    "action_execute",
)
"""Values of ``ovs.event_type``, by number."""

FACT = 10
"""Numbers of a row."""

_ROW = Struct("=10Q")
_KIND = 0x7F
_HAS_KEY = 1 << 7
_HAS_CPU, _HAS_UPCALL_CPU, _HAS_QUEUE_ID, _HAS_UPCALL_TS = (1 << bit for bit in range(8, 12))
_U32 = (1 << 32) - 1


def fact_row(fact: Fact) -> bytes:
    """Pack a fact."""
    ovs = fact.ovs
    counts, rank = fact.time, 0
    if ovs.event_type == "upcall_enqueue" and ovs.upcall_ts is not None:
        counts, rank = ovs.upcall_ts, 1
    what = KINDS.index(ovs.event_type) | (ovs.cpu or 0) << 32
    has = (fact.key, ovs.cpu, ovs.upcall_cpu, ovs.queue_id, ovs.upcall_ts)
    for number, each in enumerate(has):
        what |= (each is not None) << (7 + number)
    numbers = (ovs.upcall_cpu or 0) << 32 | (ovs.queue_id or 0)
    place = (fact.time, fact.offset, fact.extent)
    return _ROW.pack(counts, rank, *place, *(fact.key or (0, 0)), what, ovs.upcall_ts or 0, numbers)


def facts_of(blocks: Iterable[bytearray]) -> Iterator[Fact]:
    """Unpack rows."""
    for block in blocks:
        for _, _, time, offset, extent, *ids, what, upcall_ts, numbers in _ROW.iter_unpack(block):
            key: Key | None = (ids[0], ids[1]) if what & _HAS_KEY else None
            ovs = OvsFacts(
                KINDS[what & _KIND],
                what >> 32 if what & _HAS_CPU else None,
                upcall_ts if what & _HAS_UPCALL_TS else None,
                numbers >> 32 if what & _HAS_UPCALL_CPU else None,
                numbers & _U32 if what & _HAS_QUEUE_ID else None,
            )
            yield Fact(time, offset, extent, key, ovs)
