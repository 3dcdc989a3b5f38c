"""Collector ``skb-tracking``: which packet is it."""

from retis_py.collectors.collector import Collector, Part
from retis_py.events.sections.skb_tracking import WIRE, from_wire
from retis_py.kernel.host import Host
from retis_py.probes.available import Types


class SkbTrackingCollector(Collector):
    """Reports the id under which the core tracks the packet."""

    name = "skb-tracking"
    summary = "packet tracking id"
    hooks = ("skb_tracking",)

    def limits(self, host: Host) -> str | None:
        """Return where packets are lost sight of without kprobes."""
        if not host.kprobes_unavailable:
            return None
        return (
            f"tracking works by tracepoints only, since {host.kprobes_unavailable}: packets are"
            " not followed where the stack gives them a new head (encapsulation, copies, GRO)"
        )

    def parts(self, types: Types) -> tuple[Part, ...]:  # noqa: ARG002
        """Return the section as one part."""
        return (Part(WIRE, "skb_tracking", from_wire),)
