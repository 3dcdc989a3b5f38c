"""Collector ``ct``: the connection that the packet belongs to."""

from collections.abc import Mapping

from retis_py.collectors.collector import Collector, Part
from retis_py.collectors.needed_module import NeededModule, check_module, no_module_types
from retis_py.errors import MissingPrerequisite
from retis_py.events.sections import ct_wire as wire
from retis_py.events.sections.ct_wire import CtProtocol
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types

_MODULE = "nf_conntrack"

# The enum of a protocol's states and the prefix of their names (include/uapi/linux/netfilter/
# nf_conntrack_tcp.h and nf_conntrack_sctp.h).
_STATES = {
    CtProtocol.TCP: ("tcp_conntrack", "TCP_CONNTRACK_"),
    CtProtocol.SCTP: ("sctp_conntrack", "SCTP_CONNTRACK_"),
}
# Only a macro in the header, so unknown to BTF: the number of a state that is no longer used.
_SYN_SENT2 = ("LISTEN", "SYN_SENT2")


class CtCollector(Collector):
    """Reads what connection tracking has found out about the packet by the time of the probe."""

    name = "ct"
    summary = "connection tracking"
    hooks = ("ct",)
    modules = (_MODULE,)

    def check(self, host: Host, types: Types) -> None:
        """Check that the kernel tracks connections and says how it stores them."""
        if "_nfct" not in (types.vmlinux.struct("sk_buff") or {}):
            raise MissingPrerequisite(
                "collector ct: this kernel is built without connection tracking"
                " (CONFIG_NF_CONNTRACK); collect without ct"
            )
        check_module(
            host,
            self.name,
            NeededModule(
                _MODULE,
                "CONFIG_NF_CONNTRACK",
                "no connection is tracked",
                f"load it (modprobe {_MODULE}), or a ruleset that uses it",
            ),
        )
        if _find_struct(types, "nf_conn") is None:
            raise no_module_types(self.name, _MODULE)

    def defines(self, types: Types) -> dict[str, int]:
        """Return the protocols that there is room for, and which extension holds labels."""
        protocols = {f"CT_{protocol.name}": protocol.value for protocol in CtProtocol}
        extensions = _enum(types, "nf_ct_ext_id")
        labels = "NF_CT_EXT_LABELS"
        return protocols | {labels: extensions[labels]} if labels in extensions else protocols

    def parts(self, types: Types) -> tuple[Part, ...]:
        """Return the parts of the section: those that make it first, then those of its fields."""
        has_mark = "mark" in (_find_struct(types, "nf_conn") or {})
        builder = wire.CtBuilder(_proto_states(types), has_mark)
        return (
            Part(wire.IPV4_WIRE, "ct", builder.section),
            Part(wire.IPV6_WIRE, "ct", builder.section),
            Part(wire.UNTRACKED_WIRE, "ct", wire.untracked_from_wire),
            Part(wire.LABELS_WIRE, "ct", wire.labels_from_wire, "labels"),
            Part(wire.PARENT_IPV4_WIRE, "ct", builder.parent, "parent"),
            Part(wire.PARENT_IPV6_WIRE, "ct", builder.parent, "parent"),
        )


def _proto_states(types: Types) -> Mapping[CtProtocol, Mapping[int, str]]:
    """Return the names of protocols' states, as the kernel has them."""
    return {
        protocol: {
            value: _short(name.removeprefix(prefix))
            for name, value in _enum(types, enum).items()
            if name.startswith(prefix)
        }
        for protocol, (enum, prefix) in _STATES.items()
    }


def _short(name: str) -> str:
    obsolete, in_use = _SYN_SENT2
    return in_use if name == obsolete else name


def _btfs(types: Types) -> list[Btf]:
    return [types.vmlinux, *types.conntrack]


def _find_struct(types: Types, name: str) -> Mapping[str, object] | None:
    return next((found for btf in _btfs(types) if (found := btf.struct(name)) is not None), None)


def _enum(types: Types, name: str) -> dict[str, int]:
    return next((found for btf in _btfs(types) if (found := btf.enum(name)) is not None), {})
