"""Tracking ids in events: which belong to one packet, as the collector skb-tracking says."""

from collections.abc import Iterable

from lab import frames
from lab.collection import Event, packet_bytes

Id = tuple[int, int]


def tracking_id(event: Event) -> Id:
    """The time (ns) at which the packet was first seen and the address of its data then."""
    tracking = event["skb-tracking"]
    return tracking["timestamp"], tracking["orig_head"]


def by_id(events: Iterable[Event]) -> dict[Id, list[Event]]:
    """The events of each packet, in the order in which they came."""
    series: dict[Id, list[Event]] = {}
    for event in events:
        series.setdefault(tracking_id(event), []).append(event)
    return series


def addresses(event: Event) -> tuple[str, str]:
    """Source and destination of the event's IP packet."""
    frame = frames.parse(packet_bytes(event))
    return frame.source, frame.destination
