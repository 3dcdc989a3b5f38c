"""Wire form of what ovs-vswitchd does, sections ``userspace`` and ``ovs`` (bpf/hooks/ovs)."""

from retis_py.events.sections.ovs import FlowOperation, RecvUpcall
from retis_py.events.wire import Wire

USERSPACE_WIRE = Wire("userspace", "u64 ip")
RECEIVE_WIRE = Wire(
    "ovs_recv_upcall",
    "u64 key_size; u64 batch_ts; u32 type; u32 pkt_size; u32 queue_id; u8 batch_idx",
)
OPERATION_WIRE = Wire("ovs_flow_operation", "u64 batch_ts; u32 queue_id; u8 batch_idx; u8 is_put")


def receive_from_wire(  # noqa: PLR0917 (the members of the part, in their order)
    key_size: int, batch_ts: int, kind: int, pkt_size: int, queue_id: int, batch_idx: int
) -> RecvUpcall:
    """Build the section from ``RECEIVE_WIRE``."""
    return RecvUpcall(
        type=kind,
        pkt_size=pkt_size,
        key_size=key_size,
        queue_id=queue_id,
        batch_ts=batch_ts,
        batch_idx=batch_idx,
    )


def operation_from_wire(batch_ts: int, queue_id: int, batch_idx: int, is_put: int) -> FlowOperation:
    """Build the section from ``OPERATION_WIRE``."""
    return FlowOperation(
        op_type="put" if is_put else "exec",
        queue_id=queue_id,
        batch_ts=batch_ts,
        batch_idx=batch_idx,
    )
