"""Wire form of section ``ovs``: what bpf/hooks/ovs sends of the datapath, and what is made of it.

An action is one part; what only some have are parts of their own.
"""

import socket
from collections.abc import Callable, Mapping

from retis_py.events.sections.ovs import FlowLookup, Upcall, UpcallEnqueue, UpcallReturn
from retis_py.events.sections.ovs_action import ActionExecute, CtFlag, CtNat, OvsAction
from retis_py.events.sections.ovs_detrace import Ufid
from retis_py.events.wire import Wire

UPCALL_WIRE = Wire("ovs_upcall", "u32 port; u32 cpu; u8 cmd")
ENQUEUE_WIRE = Wire(
    "ovs_upcall_enqueue",
    "u64 upcall_ts; u32 upcall_cpu; u32 port; u32 queue_id; s32 ret; u8 cmd",
)
RETURN_WIRE = Wire("ovs_upcall_return", "u64 upcall_ts; u32 upcall_cpu; s32 ret")
LOOKUP_WIRE = Wire(
    "ovs_flow_lookup",
    "u64 flow; u64 sf_acts; u32 n_mask_hit; u32 n_cache_hit;"
    " u32 ufid_0; u32 ufid_1; u32 ufid_2; u32 ufid_3",
)
ACTION_WIRE = Wire("ovs_action", "u32 recirc_id; u32 action; u32 argument")
_CT = "u32 recirc_id; u16 zone_id; u8 commit; u8 force"
CT_WIRE = Wire("ovs_action_ct", _CT)
CT_NAT_WIRE = Wire(
    "ovs_action_ct_nat",
    f"{_CT}; u16 min_port; u16 max_port; u16 family; u8 is_source; u8 is_destination;"
    " u32 range_flags; char min_addr[16]; char max_addr[16]",
)
ACTION_QUEUE_WIRE = Wire("ovs_action_queue", "u32 queue_id")

_NFPROTO_IPV6 = 10  # include/uapi/linux/netfilter.h
_IPV4_SIZE = 4

# NF_NAT_RANGE_* (include/uapi/linux/netfilter/nf_nat.h).
_NAT_FLAGS = (
    (1 << 0, CtFlag.NAT_ADDRESSES),  # MAP_IPS
    (1 << 1, CtFlag.NAT_PORTS),  # PROTO_SPECIFIED
    (1 << 2, CtFlag.HASH),  # PROTO_RANDOM
    (1 << 3, CtFlag.PERSISTENT),  # PERSISTENT
    (1 << 4, CtFlag.RANDOM),  # PROTO_RANDOM_FULLY
)


def upcall_from_wire(port: int, cpu: int, cmd: int) -> Upcall:
    """Build the section from ``UPCALL_WIRE``."""
    return Upcall(cmd=cmd, port=port, cpu=cpu)


def enqueue_from_wire(  # noqa: PLR0917 (the members of the part, in their order)
    upcall_ts: int, upcall_cpu: int, port: int, queue_id: int, ret: int, cmd: int
) -> UpcallEnqueue:
    """Build the section from ``ENQUEUE_WIRE``."""
    return UpcallEnqueue(
        ret=ret,
        cmd=cmd,
        port=port,
        upcall_ts=upcall_ts,
        upcall_cpu=upcall_cpu,
        queue_id=queue_id,
    )


def return_from_wire(upcall_ts: int, upcall_cpu: int, ret: int) -> UpcallReturn:
    """Build the section from ``RETURN_WIRE``."""
    return UpcallReturn(upcall_ts=upcall_ts, upcall_cpu=upcall_cpu, ret=ret)


def lookup_from_wire(
    flow: int, sf_acts: int, n_mask_hit: int, n_cache_hit: int, *ufid: int
) -> FlowLookup:
    """Build the section from ``LOOKUP_WIRE``."""
    return FlowLookup(
        flow=flow,
        sf_acts=sf_acts,
        ufid=Ufid(*ufid),
        n_mask_hit=n_mask_hit,
        n_cache_hit=n_cache_hit,
        dpflow="",
        ofpflows=[],
    )


def action_builder(names: Mapping[int, str]) -> Callable[[int, int, int], ActionExecute]:
    """Return a function from ``ACTION_WIRE`` to the section.

    ``names`` are those of this kernel's actions; one without a name is given as its number.
    """

    def build(recirc_id: int, action: int, argument: int) -> ActionExecute:
        section = ActionExecute(recirc_id=recirc_id, action=names.get(action, str(action)))
        match section.action:
            case OvsAction.OUTPUT:
                section.port = argument
            case OvsAction.RECIRC:
                section.id = argument
            case OvsAction.DROP:
                section.reason = argument
        return section

    return build


def ct_from_wire(recirc_id: int, zone_id: int, commit: int, force: int) -> ActionExecute:
    """Build the section from ``CT_WIRE``."""
    flags = (CtFlag.COMMIT if commit else 0) | (CtFlag.FORCE if force else 0)
    return ActionExecute(
        recirc_id=recirc_id, action=OvsAction.CT.value, flags=int(flags), zone_id=zone_id
    )


def ct_nat_from_wire(  # noqa: PLR0917 (the members of the part, in their order)
    recirc_id: int,
    zone_id: int,
    commit: int,
    force: int,
    min_port: int,
    max_port: int,
    family: int,
    is_source: int,
    is_destination: int,
    range_flags: int,
    min_addr: bytes,
    max_addr: bytes,
) -> ActionExecute:
    """Build the section from ``CT_NAT_WIRE``."""
    section = ct_from_wire(recirc_id, zone_id, commit, force)
    flags = CtFlag(section.flags or 0)
    for bit, flag in _NAT_FLAGS:
        if range_flags & bit:
            flags |= flag
    section.flags = int(flags)
    section.nat = nat = CtNat()
    if is_source or is_destination:
        nat.dir = "src" if is_source else "dst"
    if flags & CtFlag.NAT_ADDRESSES:
        nat.min_addr, nat.max_addr = _address(family, min_addr), _address(family, max_addr)
    if flags & CtFlag.NAT_PORTS:
        nat.min_port, nat.max_port = min_port, max_port
    return section


def _address(family: int, raw: bytes) -> str:
    if family == _NFPROTO_IPV6:
        return socket.inet_ntop(socket.AF_INET6, raw)
    return socket.inet_ntop(socket.AF_INET, raw[:_IPV4_SIZE])
