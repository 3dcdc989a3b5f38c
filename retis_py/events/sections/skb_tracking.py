"""Section ``skb-tracking``: which packet the event is about."""

from typing import TYPE_CHECKING

from retis_py.events.sections.base import U64, Section
from retis_py.events.wire import Wire

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class SkbTracking(Section):
    """Identity of a packet that outlives its skb: same data area, first seen at the same time."""

    orig_head: U64  # sk_buff.head when the packet was first seen
    timestamp: U64  # ns, CLOCK_MONOTONIC, when the packet was first seen
    skb: U64  # address of the struct sk_buff; clones differ in it

    def tracking_id(self) -> int:
        """128 bits, the same for all events of a packet."""
        return (self.timestamp << 64) + self.orig_head

    def match(self, other: "SkbTracking") -> bool:
        """Whether both are about the same packet, in whatever skb.

        Raises TypeError if ``other`` is no SkbTracking.
        """
        if not isinstance(other, SkbTracking):
            message = f"'{type(other).__name__}' is no SkbTracking"  # type: ignore[unreachable]
            raise TypeError(message)
        return self.orig_head == other.orig_head and self.timestamp == other.timestamp

    def strict_match(self, other: "SkbTracking") -> bool:
        """Whether both are about the same packet in the same skb, clones being others.

        Raises TypeError if ``other`` is no SkbTracking.
        """
        return self.match(other) and self.skb == other.skb

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``#TRACKINGID (skb ADDR)``, both in hex."""
        return f"#{(self.timestamp << 64) + self.orig_head:x} (skb {self.skb:x})"


WIRE = Wire("skb_tracking", "u64 orig_head; u64 timestamp; u64 skb")
from_wire = SkbTracking
