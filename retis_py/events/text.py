"""Events and series as text."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from retis_py.events.nft_rules import nft_rule_line
from retis_py.events.sections.startup import NS_PER_S, NftRules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retis_py.events.event import Event, Identity
    from retis_py.events.sections.packet import Packet


class TextFormat(Struct, frozen=True):
    """How events are shown."""

    multi_line: bool = True
    utc: bool = False  # date instead of the monotonic timestamp
    link_layer: bool = False  # Ethernet and VLAN headers too
    clock_offset: int = 0  # ns, CLOCK_REALTIME minus CLOCK_MONOTONIC of the collection
    colour: bool = False  # ANSI colours
    nft_rules: NftRules | None = None  # whose text is shown under events that name them

    def time(self, timestamp: int) -> str:
        """``timestamp`` (ns, CLOCK_MONOTONIC) as ``2026-11-20 23:20:07.123456``, in UTC.

        Times beyond the years that a date can hold stay in nanoseconds.
        """
        seconds, ns = divmod(timestamp + self.clock_offset, NS_PER_S)
        second = _second(seconds)
        return str(timestamp) if second is None else f"{second}.{ns // 1000:06}"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return None


# What stands out, as parameters of the escape sequence SGR (ECMA-48).
_PROBE, ID_COLOUR, _DROP, PACKET_COLOUR = "1", "2", "1;31", "36"


def event_text(event: "Event", fmt: TextFormat) -> str:
    """Text of an event standing alone, without a newline at its end."""
    return first_line(event, fmt) + further_text(event, fmt)


def series_text(series: "Sequence[Event]", fmt: TextFormat) -> str:
    """Text of a series: the first event, then the others indented and led by ``↳``."""
    texts = [event_text(event, fmt) for event in series]
    for idx in range(1, len(texts)):
        texts[idx] = follower_text(texts[idx])
    return "\n".join(texts)


def follower_text(text: str) -> str:
    """Text of an event that is not the first of its series, from its text standing alone."""
    return "  ↳ " + text.replace("\n", "\n    ")


def first_line(event: "Event", fmt: TextFormat) -> str:
    """``TIME (CPU) [COMM] PID [tp] SYMBOL #TRACKINGID (skb ADDR) drop (reason R)``."""
    line = event.common.text(fmt)
    if event.kernel is not None:
        line = f"{line} {_painted(event.kernel.text(fmt), _PROBE, fmt)}"
    elif event.userspace is not None:
        line = f"{line} {_painted(event.userspace.text(fmt), _PROBE, fmt)}"
    return line + identity_text(event, fmt)


def identity_text(event: "Event | Identity", fmt: TextFormat) -> str:
    """Return the end of the first line: `` #TRACKINGID (skb ADDR) drop (reason R)``, or nothing."""
    text = ""
    if event.tracking is not None:
        text = f" {_painted(event.tracking.text(fmt), ID_COLOUR, fmt)}"
    elif event.skb_tracking is not None:
        text = f" {_painted(event.skb_tracking.text(fmt), ID_COLOUR, fmt)}"
    if event.skb_drop is not None:
        text = f"{text} {_painted(event.skb_drop.text(fmt), _DROP, fmt)}"
    return text


def further_text(event: "Event", fmt: TextFormat) -> str:
    """Return what follows the first line: a line break before it, or a space if single-line."""
    return _joined(_further_parts(event, fmt), fmt)


def packet_line(packet: "Packet", fmt: TextFormat) -> str:
    """Return the same of an event that has nothing but a packet."""
    return _joined([_packet_text(packet, fmt)], fmt)


def _joined(parts: list[str], fmt: TextFormat) -> str:
    if not fmt.multi_line:
        return "".join([f" {line.lstrip()}" for part in parts for line in part.split("\n")])
    # An empty stack trace is an empty line, and not indented at the end.
    text = "".join([f"\n  {part}" for part in parts])
    return text if not parts or parts[-1] else text[:-2]


def _further_parts(event: "Event", fmt: TextFormat) -> list[str]:
    """Texts of the other sections in the order of reading.

    Where a section has several lines, those after its first are indented as the event's are.
    """
    parts = []
    kernel = event.kernel
    if kernel is not None and kernel.stack_trace is not None:
        parts.append(kernel.stack_text(fmt).replace("\n", "\n  "))
    if event.packet is not None:
        parts.append(_packet_text(event.packet, fmt))
    if event.netns is not None:
        netns = event.netns.text(fmt)
        parts.append(netns if event.dev is None else f"{netns} {event.dev.text(fmt)}")
    elif event.dev is not None:
        parts.append(event.dev.text(fmt))
    if event.skb is not None and (skb := event.skb.text(fmt)):
        parts.append(skb)
    for section in (event.ovs, event.ovs_detrace, event.nft, event.ct, event.startup):
        if section is not None:
            parts.append(section.text(fmt).replace("\n", "\n  "))
            if section is event.nft and (rule := nft_rule_line(fmt.nft_rules, event)) is not None:
                parts.append(f"  {rule}")
    return parts


def _packet_text(packet: "Packet", fmt: TextFormat) -> str:
    return _painted(packet.text(fmt), PACKET_COLOUR, fmt)


def _painted(text: str, colour: str, fmt: TextFormat) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if fmt.colour else text


def colours(colour: str, *, enabled: bool) -> tuple[bytes, bytes]:
    """Return what is before and behind a text of a colour."""
    return (f"\x1b[{colour}m".encode(), b"\x1b[0m") if enabled else (b"", b"")
