"""Collector ``dev``: the network device that the packet is at."""

from retis_py.collectors.collector import Collector, Part
from retis_py.events.sections.dev import WIRE, from_wire
from retis_py.probes.available import Types


class DevCollector(Collector):
    """Feeds on packets and on devices."""

    name = "dev"
    summary = "network device"
    hooks = ("dev",)
    feeds = frozenset({"struct sk_buff *", "struct net_device *"})

    def parts(self, types: Types) -> tuple[Part, ...]:  # noqa: ARG002
        """Return the section as one part."""
        return (Part(WIRE, "dev", from_wire),)
