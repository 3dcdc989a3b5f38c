"""Collector ``ns``: the network namespace that the packet is in."""

from retis_py.collectors.collector import Collector, Part
from retis_py.events.sections.netns import WIRE, from_wire
from retis_py.probes.available import Types


class NsCollector(Collector):
    """Feeds on whatever leads to a namespace."""

    name = "ns"
    summary = "network namespace"
    hooks = ("ns",)
    feeds = frozenset({"struct sk_buff *", "struct net_device *", "struct net *", "struct sock *"})

    def parts(self, types: Types) -> tuple[Part, ...]:  # noqa: ARG002
        """Return the section as one part."""
        return (Part(WIRE, "netns", from_wire),)
