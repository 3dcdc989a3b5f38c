"""Collector ``skb``: the packet and what struct sk_buff says about it."""

import logging
from collections.abc import Iterable
from enum import StrEnum

from retis_py.collectors.collector import Collector, Part
from retis_py.errors import UsageError
from retis_py.events.sections import packet, skb
from retis_py.probes.available import Types

log = logging.getLogger(__name__)


class SkbPart(StrEnum):
    """What ``--skb-sections`` chooses from, beside the packet and vlan_accel, which always come."""

    ETH = "eth"
    META = "meta"
    DATAREF = "dataref"
    GSO = "gso"


# Parts of retis up to 1.5 that are collectors or always there by now.
_OLD_NAMES = {
    "dev": "use the collector dev",
    "ns": "use the collector ns",
} | dict.fromkeys(
    ("packet", "vlan", "arp", "ip", "ipv4", "ipv6", "tcp", "udp", "icmp", "icmpv6"),
    "it is always reported",
)


def parse_skb_sections(names: Iterable[str]) -> frozenset[SkbPart]:
    """Parse the names given to ``--skb-sections``; ``all`` stands for all of them.

    Raises:
        UsageError: a name is unknown.
    """
    found: set[SkbPart] = set()
    for name in names:
        if name == "all":
            found.update(SkbPart)
        elif name in _OLD_NAMES:
            log.warning("--skb-sections %s is no longer needed: %s", name, _OLD_NAMES[name])
        elif name in set(SkbPart):
            found.add(SkbPart(name))
        else:
            known = ", ".join(("all", *SkbPart))
            raise UsageError(f"--skb-sections: unknown section '{name}', use {known}")
    return frozenset(found)


class SkbCollector(Collector):
    """Packet bytes from any probe with an skb, and the parts of its metadata that were chosen."""

    name = "skb"
    summary = "packet and socket buffer"
    hooks = ("skb", "packet")

    def __init__(self, sections: frozenset[SkbPart] = frozenset(), snaplen: int = 255) -> None:
        self._sections = sections
        self._snaplen = snaplen

    def defines(self, types: Types) -> dict[str, int]:  # noqa: ARG002
        """Return which parts to compile in and how much of the packet to take."""
        chosen = {f"SKB_{part.upper()}": 1 for part in self._sections}
        return {"SNAPLEN": self._snaplen} | chosen

    def parts(self, types: Types) -> tuple[Part, ...]:  # noqa: ARG002
        """Return the chosen parts of the metadata, and the packet."""
        chosen = {
            SkbPart.META: Part(skb.META_WIRE, "skb", skb.SkbMeta, "meta"),
            SkbPart.DATAREF: Part(skb.DATAREF_WIRE, "skb", skb.data_ref_from_wire, "data_ref"),
            SkbPart.GSO: Part(skb.GSO_WIRE, "skb", skb.SkbGso, "gso"),
        }
        return (
            Part(skb.VLAN_ACCEL_WIRE, "skb", skb.vlan_accel_from_wire, "vlan_accel"),
            *(part for name, part in chosen.items() if name in self._sections),
            Part(packet.WIRE, "packet", packet.from_wire, repeats=False),
        )
