"""Statistics of an event file: counted from its pieces, told in tables.

What ``Stats.tables`` returns is what ``retis stats --json`` prints, and what its text is made of.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import TypeVar

from msgspec import Struct

from retis_py.events.text import TextFormat
from retis_py.process.conversation import address_text
from retis_py.process.event_probe import EventProbe
from retis_py.process.seen_packets import PackedPackets
from retis_py.process.stats_lines import (
    Device,
    Drop,
    Kind,
    Namespace,
    PieceStats,
    RawKind,
    decode_kind,
)
from retis_py.process.talkers import Talker, Talkers

_RAW_KINDS = 8192  # held at most

_Of = TypeVar("_Of", bound=Hashable)


class Moment(Struct, frozen=True):
    """When an event happened."""

    timestamp: int  # ns, CLOCK_MONOTONIC
    utc: str  # "2026-11-20 23:20:07.123456"


class ProbeCount(Struct, frozen=True):
    """Events of a probe."""

    type: str
    symbol: str
    events: int


class DropCount(Struct, frozen=True, omit_defaults=True):
    """Events with a drop reason."""

    reason: str
    events: int
    subsys: str | None = None


class TalkerCount(Struct, frozen=True):
    """Packets between two addresses."""

    addresses: tuple[str, str]
    packets: int
    bytes: int


class Others(Struct, frozen=True):
    """What is not among the top talkers."""

    conversations: int
    packets: int  # those without addresses too
    bytes: int


class TopTalkers(Struct, frozen=True):
    """The first of the talkers, and all others together."""

    top: list[TalkerCount]
    others: Others


class PacketTables(Struct, frozen=True):
    """Packets, each counted once."""

    packets: int
    bytes: int
    complete: bool  # False: conversations were given up, so that small ones may lack
    by_bytes: TopTalkers
    by_packets: TopTalkers


class DeviceCount(Struct, frozen=True, omit_defaults=True):
    """Events of a device. Index and name are those in its namespace."""

    name: str
    ifindex: int
    events: int
    inum: int | None = None  # of the namespace
    cookie: int | None = None


class NamespaceCount(Struct, frozen=True, omit_defaults=True):
    """Events of a network namespace."""

    inum: int
    events: int
    cookie: int | None = None


class Tables(Struct, frozen=True):
    """Statistics, the most frequent first. None where there is nothing to tell."""

    series: int | None  # None: the file is not sorted
    events: int  # without startup events
    first_event: Moment | None
    last_event: Moment | None
    probes: list[ProbeCount]
    drops: list[DropCount]
    packets: PacketTables
    devices: list[DeviceCount]
    namespaces: list[NamespaceCount]


class Stats:
    """Adds up what was counted in the pieces of one file, or of several."""

    def __init__(self, *, is_sorted: bool) -> None:
        self._sorted = is_sorted
        self._series = 0
        self._kinds: Counter[Kind] = Counter()
        self._raw_kinds: Counter[RawKind] = Counter()  # to be decoded, once each
        self._first: tuple[int, int] | None = None  # ns: CLOCK_REALTIME, CLOCK_MONOTONIC
        self._last: tuple[int, int] | None = None
        self._talkers = Talkers()

    def add(self, piece: PieceStats, clock_offset: int) -> None:
        """Take a piece, in the order of the file; the offset is that of its file, in ns."""
        self._series += piece.series
        self._add_kinds(piece.kinds)
        if isinstance(piece.packets, PackedPackets):
            self._talkers.add_packed(piece.packets)
        else:
            self._talkers.add(piece.packets)
        if piece.first is not None and piece.last is not None:
            first = (piece.first + clock_offset, piece.first)
            last = (piece.last + clock_offset, piece.last)
            self._first = first if self._first is None else min(first, self._first)
            self._last = last if self._last is None else max(last, self._last)

    def tables(self, top: int) -> Tables:
        """Return the tables, with the first ``top`` of the talkers."""
        self._decode_kinds()
        probes = self._by(_probe)
        drops = self._by(lambda kind: kind[2])
        namespaces = self._by(lambda kind: kind[3])
        devices = self._by(lambda kind: None if kind[4] is None else (kind[4], kind[3]))
        return Tables(
            series=self._series if self._sorted else None,
            events=self._kinds.total(),
            first_event=_moment(self._first),
            last_event=_moment(self._last),
            probes=[ProbeCount(*probe, events) for probe, events in probes],
            drops=[_drop_count(drop, events) for drop, events in drops],
            packets=self._packets(top),
            devices=[_device_count(*device, events) for device, events in devices],
            namespaces=[NamespaceCount(ns.inum, events, ns.cookie) for ns, events in namespaces],
        )

    def _add_kinds(self, kinds: "Counter[Kind] | list[tuple[RawKind, int]]") -> None:
        if isinstance(kinds, Counter):
            self._kinds.update(kinds)
            return
        raw = self._raw_kinds
        for kind, events in kinds:
            raw[kind] += events
        if len(raw) > _RAW_KINDS:
            self._decode_kinds()

    def _decode_kinds(self) -> None:
        for kind, events in self._raw_kinds.items():
            self._kinds[decode_kind(kind)] += events
        self._raw_kinds.clear()

    def _by(self, what: Callable[[Kind], _Of | None]) -> list[tuple[_Of, int]]:
        """Count events by a part of their kind, those without it left out."""
        counts: Counter[_Of] = Counter()
        for kind, events in self._kinds.items():
            if (part := what(kind)) is not None:
                counts[part] += events
        return sorted(counts.items(), key=lambda item: (-item[1], repr(item[0])))

    def _packets(self, top: int) -> PacketTables:
        talkers = self._talkers
        return PacketTables(
            packets=talkers.total.packets,
            bytes=talkers.total.bytes,
            complete=talkers.complete,
            by_bytes=self._top(talkers.by_bytes(top)),
            by_packets=self._top(talkers.by_packets(top)),
        )

    def _top(self, talkers: list[Talker]) -> TopTalkers:
        top = [
            TalkerCount((address_text(one), address_text(other)), traffic.packets, traffic.bytes)
            for (one, other), traffic in talkers
        ]
        others = Others(
            len(self._talkers) - len(top),
            self._talkers.total.packets - sum(talker.packets for talker in top),
            self._talkers.total.bytes - sum(talker.bytes for talker in top),
        )
        return TopTalkers(top, others)


def _probe(kind: Kind) -> EventProbe | None:
    probe = kind[0] or kind[1]
    return None if probe is None else EventProbe(probe.probe_type, probe.symbol)


def _drop_count(drop: Drop, events: int) -> DropCount:
    return DropCount(drop.drop_reason, events, drop.subsys)


def _device_count(device: Device, namespace: Namespace | None, events: int) -> DeviceCount:
    if namespace is None:
        return DeviceCount(device.name, device.ifindex, events)
    return DeviceCount(device.name, device.ifindex, events, namespace.inum, namespace.cookie)


def _moment(times: tuple[int, int] | None) -> Moment | None:
    if times is None:
        return None
    realtime, timestamp = times
    return Moment(timestamp, TextFormat(utc=True).time(realtime))
