"""Collector ``skb-tracking``: which packet is it."""

from retis_py.collectors.collector import Collector, Part
from retis_py.events.sections.skb_tracking import WIRE, from_wire
from retis_py.probes.available import Types


class SkbTrackingCollector(Collector):
    """Reports the id under which the core tracks the packet."""

    name = "skb-tracking"
    summary = "packet tracking id"
    hooks = ("skb_tracking",)

    def parts(self, types: Types) -> tuple[Part, ...]:  # noqa: ARG002
        """Return the section as one part."""
        return (Part(WIRE, "skb_tracking", from_wire),)
