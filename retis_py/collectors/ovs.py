"""Collector ``ovs``: what Open vSwitch's datapath in the kernel does with the packet.

Upcalls and actions are told by tracepoints of the module openvswitch, and that a packet was queued
for user space, and which flow was found for it, by functions of it.
"""

import logging
from collections.abc import Mapping
from enum import IntEnum

from retis_py.collectors.collector import Collector, OwnProbe, Part, UsdtRequest
from retis_py.collectors.needed_module import NeededModule, check_module, no_module_types
from retis_py.events.sections import ovs_user_wire as user_wire
from retis_py.events.sections import ovs_wire as wire
from retis_py.events.sections.ovs_action import OvsAction
from retis_py.kernel.btf import Argument, Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from retis_py.probes.probe import register_of

log = logging.getLogger(__name__)

_MODULE = "openvswitch"

_ACTIONS = "ovs_action_attr"
_ACTION_PREFIX = "OVS_ACTION_ATTR_"
# A set action with a mask, as the kernel keeps those that came without one.
_SET_TO_MASKED = "set_to_masked"


class OvsRole(IntEnum):
    """What the collector's own probes are to its hooks."""

    UPCALL = 1
    ENQUEUE = 2
    UPCALL_RETURN = 3
    PROCESS = 4
    LOOKUP = 5
    ACTION = 6
    EXECUTE = 7


_PROBES = (
    OwnProbe("tp:openvswitch:ovs_dp_upcall", OvsRole.UPCALL),
    OwnProbe("kretprobe:queue_userspace_packet", OvsRole.ENQUEUE),
    OwnProbe("kretprobe:ovs_dp_upcall", OvsRole.UPCALL_RETURN),
    OwnProbe("kprobe:ovs_dp_process_packet", OvsRole.PROCESS, silent=True),
    OwnProbe("kretprobe:ovs_flow_tbl_lookup_stats", OvsRole.LOOKUP),
    OwnProbe("tp:openvswitch:ovs_do_execute_action", OvsRole.ACTION),
)
# Where packets are followed through user space: whether it is one that comes back from there.
_TRACKING_PROBES = (OwnProbe("kretprobe:ovs_execute_actions", OvsRole.EXECUTE, silent=True),)

# The last step first: what is received when they are attached is to be seen to its end.
_DAEMON = "ovs-vswitchd"
_USDT_PROBES = (
    UsdtRequest(_DAEMON, "dpif_netlink_operate__:op_flow_execute", "execute_packet", (2, 3)),
    UsdtRequest(_DAEMON, "dpif_netlink_operate__:op_flow_put", "put_flow", (1,)),
    UsdtRequest(_DAEMON, "dpif_recv:recv_upcall", "receive_upcall", (1, 2, 3, 4, 5)),
)


class OvsCollector(Collector):
    """Reports upcalls, flow lookups and actions.

    With ``track`` packets are followed to user space and back: ovs-vswitchd is probed too. With
    ``enrich_flows`` somebody asks the daemon for the flows that lookups have found.
    """

    name = "ovs"
    summary = "Open vSwitch"
    hooks = ("ovs/upcall", "ovs/lookup", "ovs/action")
    headers = ("hooks/ovs/ovs.h", "hooks/ovs/queue_id.h")
    roles = "hooks/ovs/roles.h"
    user_side = "hooks/ovs/daemon.c"
    modules = (_MODULE,)
    reads_pages = True

    def __init__(self, track: bool = False, enrich_flows: bool = False) -> None:
        self._track = track
        self._enrich_flows = enrich_flows

    def check(self, host: Host, types: Types) -> None:
        """Check that the datapath is there and its types are known."""
        check_module(
            host,
            self.name,
            NeededModule(
                _MODULE,
                "CONFIG_OPENVSWITCH",
                "there is no datapath",
                f"start Open vSwitch, or load the module (modprobe {_MODULE})",
            ),
        )
        if _find(types) is None:
            raise no_module_types(self.name, _MODULE)
        if host.kprobes_unavailable:
            log.debug("collector ovs: %s", self.limits(host))
            if self._track:
                log.warning(
                    "--ovs-track: packets are not followed to user space, since %s",
                    host.kprobes_unavailable,
                )
            if self._enrich_flows:
                log.warning(
                    "--ovs-enrich-flows: no flows to ask for, as lookups are not seen, since %s",
                    host.kprobes_unavailable,
                )

    def limits(self, host: Host) -> str | None:
        """Return what is not seen without kprobes."""
        if not host.kprobes_unavailable:
            return None
        return f"only the tracepoints, not lookups nor what is queued: {host.kprobes_unavailable}"

    def usdt_probes(self) -> tuple[UsdtRequest, ...]:
        """Return those of the daemon, where packets are followed through it."""
        return _USDT_PROBES if self._track else ()

    def own_probes(self) -> tuple[OwnProbe, ...]:
        """Return the tracepoints and functions of the datapath."""
        return _PROBES + _TRACKING_PROBES if self._track else _PROBES

    def defines(self, types: Types) -> dict[str, int]:
        """Return what the probes are to the hooks, and where their arguments are."""
        btf = _find(types)
        constants = {f"OVS_ROLE_{role.name}": role.value for role in OvsRole}
        if self._track:
            constants["OVS_TRACK"] = 1
        if btf is None:
            return constants
        upcall, action = btf.tracepoint("ovs_dp_upcall"), btf.tracepoint("ovs_do_execute_action")
        queue = btf.function("queue_userspace_packet")
        lookup = btf.function("ovs_flow_tbl_lookup_stats")
        constants |= {
            "OVS_PLACE_TP_UPCALL_INFO": _by_type(upcall, "struct dp_upcall_info *"),
            "OVS_PLACE_TP_KEY": _by_type(action, "struct sw_flow_key *"),
            "OVS_PLACE_TP_ACTION": _by_type(action, "struct nlattr *"),
            "OVS_PLACE_CUTLEN": _register_by_name(queue, "cutlen"),
            "OVS_PLACE_MASKS_TRIED": _register_by_name(lookup, "n_mask_hit"),
            "OVS_PLACE_CACHE_HITS": _register_by_name(lookup, "n_cache_hit"),
        }
        actions = btf.enum(_ACTIONS) or {}
        return constants | {
            name: actions[name]
            for action in ("OUTPUT", "RECIRC", "CT", "DROP")
            if (name := _ACTION_PREFIX + action) in actions
        }

    def parts(self, types: Types) -> tuple[Part, ...]:
        """Return the section's kinds, an action's queue id last."""
        build_action = wire.action_builder(action_names(_find(types)))
        parts = (
            Part(wire.UPCALL_WIRE, "ovs", wire.upcall_from_wire),
            Part(wire.ENQUEUE_WIRE, "ovs", wire.enqueue_from_wire, repeats=False),
            Part(wire.RETURN_WIRE, "ovs", wire.return_from_wire, repeats=False),
            Part(wire.LOOKUP_WIRE, "ovs", wire.lookup_from_wire),
            Part(wire.ACTION_WIRE, "ovs", build_action),
            Part(wire.CT_WIRE, "ovs", wire.ct_from_wire),
            Part(wire.CT_NAT_WIRE, "ovs", wire.ct_nat_from_wire),
        )
        if not self._track:
            return parts
        return (
            *parts,
            Part(wire.ACTION_QUEUE_WIRE, "ovs", int, "queue_id", repeats=False),
            Part(user_wire.USERSPACE_WIRE, "userspace", int, "ip"),
            Part(user_wire.RECEIVE_WIRE, "ovs", user_wire.receive_from_wire, repeats=False),
            Part(user_wire.OPERATION_WIRE, "ovs", user_wire.operation_from_wire, repeats=False),
        )


def action_names(btf: Btf | None) -> Mapping[int, str]:
    """Return the names of a kernel's actions as events have them."""
    actions = (btf.enum(_ACTIONS) or {}) if btf else {}
    names = {
        number: name.removeprefix(_ACTION_PREFIX).lower()
        for name, number in actions.items()
        if name.startswith(_ACTION_PREFIX)
    }
    return {n: OvsAction.SET_MASKED.value if s == _SET_TO_MASKED else s for n, s in names.items()}


def _find(types: Types) -> Btf | None:
    """Return the types that the datapath's are among: the module's, or the kernel's own."""
    for btf in (types.module(_MODULE), types.vmlinux):
        if btf is not None and btf.struct("dp_upcall_info") is not None:
            return btf
    return None


# Of what is not there nothing is probed, so that any place will do.


def _by_type(arguments: list[Argument] | None, kind: str) -> int:
    return next((i for i, a in enumerate(arguments or []) if a.type == kind), 0)


def _register_by_name(arguments: list[Argument] | None, name: str) -> int:
    names = [argument.name for argument in arguments or []]
    return register_of(names.index(name)) if name in names else 0
