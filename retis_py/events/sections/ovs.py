"""Section ``ovs``: Open vSwitch, in the kernel (net/openvswitch) and in ovs-vswitchd (USDT).

One struct per ``event_type``, told apart by that key.
"""

from typing import TYPE_CHECKING, Any, Literal

from retis_py.events.escape import escape
from retis_py.events.sections.base import I32, U8, U32, U64
from retis_py.events.sections.ovs_action import ActionExecute
from retis_py.events.sections.ovs_detrace import Ufid, ufid_text
from retis_py.events.sections.ovs_kind import Kind

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat

# enum ovs_packet_cmd (include/uapi/linux/openvswitch.h); retis adds nothing for others.
_UPCALL_COMMANDS = {0: " (unspec)", 1: " (miss)", 2: " (action)", 3: " (exec)"}


class Upcall(Kind, tag_field="event_type", tag="upcall"):
    """The kernel is about to hand a packet to user space (tracepoint ovs_dp_upcall)."""

    cmd: U8  # enum ovs_packet_cmd
    port: U32  # Netlink port id of the handler
    cpu: U32

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``upcall (CMD) port N cpu N``."""
        return f"upcall{_UPCALL_COMMANDS.get(self.cmd, '')} port {self.port} cpu {self.cpu}"


class UpcallEnqueue(Kind, tag_field="event_type", tag="upcall_enqueue"):
    """A packet, or a segment of it, was queued towards user space (queue_userspace_packet)."""

    ret: I32  # 0 or -errno
    cmd: U8
    port: U32
    upcall_ts: U64  # with upcall_cpu: the upcall's identity, its time in ns
    upcall_cpu: U32
    queue_id: U32  # skb hash that ovs-vswitchd sees in OVS_PACKET_ATTR_HASH

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``upcall_enqueue (CMD) (CPU/TS) q ID ret N``."""
        return (
            f"upcall_enqueue{_UPCALL_COMMANDS.get(self.cmd, '')}"
            f" ({self.upcall_cpu}/{self.upcall_ts}) q {self.queue_id} ret {self.ret}"
        )


class UpcallReturn(Kind, tag_field="event_type", tag="upcall_return"):
    """ovs_dp_upcall returned."""

    upcall_ts: U64
    upcall_cpu: U32
    ret: I32

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``upcall_ret (CPU/TS) ret N``."""
        return f"upcall_ret ({self.upcall_cpu}/{self.upcall_ts}) ret {self.ret}"


class RecvUpcall(Kind, tag_field="event_type", tag="recv_upcall"):
    """ovs-vswitchd took an upcall off its socket (USDT dpif_recv:recv_upcall)."""

    type: U32  # enum dpif_upcall_type
    pkt_size: U32  # bytes
    key_size: U64  # bytes
    queue_id: U32
    batch_ts: U64  # ns, when the batch began
    batch_idx: U8  # place in the batch

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``upcall_recv q ID pkt_size N``."""
        return f"upcall_recv q {self.queue_id} pkt_size {self.pkt_size}"


class FlowOperation(Kind, tag_field="event_type", tag="flow_operation"):
    """ovs-vswitchd answers an upcall (USDT dpif_netlink_operate__:op_flow_put, _execute)."""

    op_type: Literal["put", "exec"]
    queue_id: U32
    batch_ts: U64
    batch_idx: U8

    def field_values(self) -> dict[str, Any]:
        """Return the fields, ``op_type`` as a number: 0 for exec, 1 for put."""
        return super().field_values() | {"op_type": int(self.op_type == "put")}

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``flow_put|flow_exec q ID ts TS (IDX)``."""
        return f"flow_{self.op_type} q {self.queue_id} ts {self.batch_ts} ({self.batch_idx})"


class FlowLookup(Kind, tag_field="event_type", tag="flow_lookup"):
    """The packet was looked up in the kernel's flow table (ovs_flow_tbl_lookup_stats)."""

    flow: U64  # address of the struct sw_flow, 0: none found
    sf_acts: U64  # address of its struct sw_flow_actions
    ufid: Ufid
    n_mask_hit: U32  # masks tried
    n_cache_hit: U32  # 1: found through the mask cache
    dpflow: str  # data path flow, empty until enriched
    ofpflows: list[str]  # OpenFlow flows it was made from

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``flow miss mask N cache N``, or what was hit and, where known, the flows."""
        hits = f"mask {self.n_mask_hit} cache {self.n_cache_hit}"
        if not self.flow:
            return f"flow miss {hits}"
        where = f"flow {self.flow:x} sf_acts {self.sf_acts:x}"
        lines = [f"flow hit ufid {ufid_text(self.ufid)} {hits} {where}"]
        if self.dpflow:
            lines.append(f"odpflow {escape(self.dpflow)}")
        if self.ofpflows:
            lines.append("openflow")
            lines += [f"    {escape(flow)}" for flow in self.ofpflows]
        return "\n".join(lines)


Ovs = (
    Upcall | UpcallEnqueue | UpcallReturn | RecvUpcall | FlowOperation | ActionExecute | FlowLookup
)

# For isinstance(event.ovs, event.ovs.Operation), by the names of retis's Python library.
for _name, _kind in {
    "Upcall": Upcall,
    "UpcallEnqueue": UpcallEnqueue,
    "UpcallReturn": UpcallReturn,
    "RecvUpcall": RecvUpcall,
    "Operation": FlowOperation,
    "Action": ActionExecute,
    "DpLookup": FlowLookup,
}.items():
    setattr(Kind, _name, _kind)
