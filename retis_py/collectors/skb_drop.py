"""Collector ``skb-drop``: why a packet is dropped."""

from collections.abc import Callable

from retis_py.collectors.collector import Collector, Part
from retis_py.errors import MissingPrerequisite
from retis_py.events.sections.skb_drop import WIRE, SkbDrop
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types

_CORE = "skb_drop_reason"
_SUBSYSTEMS = "skb_drop_reason_subsys"
_SUBSYSTEM_SHIFT = 16  # SKB_DROP_REASON_SUBSYS_SHIFT, include/net/dropreason.h

# Who defines a subsystem's reasons: its enum, the modules that may hold it and the prefix of its
# names. include/net/dropreason.h names the subsystems, not these.
_SUBSYSTEM_REASONS = {
    "mac80211_unusable": ("mac80211_drop_reason", ("mac80211",), "RX_DROP_"),
    "mac80211_monitor": ("mac80211_drop_reason", ("mac80211",), "RX_DROP_"),
    "openvswitch": ("ovs_drop_reason", ("openvswitch",), "OVS_DROP_"),
}


class SkbDropCollector(Collector):
    """Reads the reason of any function that has one; adds the tracepoint that sees all drops."""

    name = "skb-drop"
    summary = "drop reason"
    hooks = ("skb_drop",)
    feeds = frozenset({"enum skb_drop_reason"})

    def check(self, host: Host, types: Types) -> None:  # noqa: ARG002
        """Check that the kernel gives reasons, as it does since Linux 5.17."""
        if types.vmlinux.enum(_CORE) is None:
            raise MissingPrerequisite(
                "collector skb-drop: this kernel gives no drop reasons (no enum skb_drop_reason in "
                "its BTF); probe tp:skb:kfree_skb to see drops without them"
            )

    def probes(self) -> tuple[str, ...]:
        """Return the tracepoint through which every dropped packet goes."""
        return ("tp:skb:kfree_skb",)

    def defines(self, types: Types) -> dict[str, int]:
        """Return the reasons that are no drop."""
        reasons = types.vmlinux.enum(_CORE) or {}
        names = ("SKB_NOT_DROPPED_YET", "SKB_CONSUMED")
        return {name: reasons[name] for name in names if name in reasons}

    def parts(self, types: Types) -> tuple[Part, ...]:
        """Return the section as one part, its reasons named as the kernel names them."""
        return (Part(WIRE, "skb_drop", drop_namer(types)),)


def drop_namer(types: Types) -> Callable[[int], SkbDrop]:
    """Return a function from a raw reason to its section.

    A reason that BTF does not name is given as its number.
    """
    vmlinux = types.vmlinux
    known = {
        value: SkbDrop(drop_reason=_short(name))
        for name, value in (vmlinux.enum(_CORE) or {}).items()
    }
    subsystems = {
        value: name.removeprefix("SKB_DROP_REASON_SUBSYS_").lower()
        for name, value in (vmlinux.enum(_SUBSYSTEMS) or {}).items()
    }

    def name_reason(raw: int) -> SkbDrop:
        found = known.get(raw)
        if found is None:
            found = known[raw] = _subsystem_reason(types, subsystems, raw)
        return found

    return name_reason


def _subsystem_reason(types: Types, subsystems: dict[int, str], raw: int) -> SkbDrop:
    number = raw >> _SUBSYSTEM_SHIFT
    subsystem = subsystems.get(number)
    if number == 0 or subsystem is None:
        return SkbDrop(drop_reason=str(raw))
    enum, modules, prefix = _SUBSYSTEM_REASONS.get(subsystem, ("", (), ""))
    for btf in (types.vmlinux, *map(types.module, modules)):
        for name, value in _enum(btf, enum).items():
            # These enums hold whole reasons, the subsystem's number included.
            if value == raw:
                return SkbDrop(subsys=subsystem, drop_reason=name.removeprefix(prefix))
    return SkbDrop(subsys=subsystem, drop_reason=str(raw & 0xFFFF))


def _enum(btf: Btf | None, name: str) -> dict[str, int]:
    return (btf.enum(name) or {}) if btf and name else {}


def _short(name: str) -> str:
    return name.removeprefix("SKB_DROP_REASON_").removeprefix("SKB_")
