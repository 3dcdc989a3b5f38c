"""Pieces of an event file counted: a job for ``work_through``.

A piece is decoded in one go, typed only as far as something is counted of it; that takes less than
to find the same by regular expressions, and any layout of JSON will do. Only what is not one value
a line, or is no event, is looked at line by line.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw, Struct

from retis_py import compiled
from retis_py.events.layout import PARTS_TIME, AnotherLayoutError, completed
from retis_py.events.lines import UNDECODABLE, LineFormat, wrong_with
from retis_py.events.sections.base import U32, U64, Data
from retis_py.process.conversation import conversation
from retis_py.process.counted_pieces import CountedPieces
from retis_py.process.seen_packets import PackedPackets, SeenPacket
from retis_py.process.work import Damage, Done


class ProbeStub(Struct, frozen=True, gc=False):
    """Sections ``kernel`` and ``userspace``: the probe."""

    probe_type: str
    symbol: str


class Drop(Struct, frozen=True, gc=False):
    """Section ``skb-drop``."""

    drop_reason: str
    subsys: str | None = None


class Namespace(Struct, frozen=True, gc=False):
    """Section ``netns``."""

    inum: U32
    cookie: U64 | None = None


class Device(Struct, frozen=True, gc=False):
    """Section ``dev``, without where the packet came in."""

    name: str
    ifindex: U32


class _Ids(Struct, frozen=True, gc=False):
    timestamp: U64
    orig_head: U64


class _Startup(Struct, frozen=True, gc=False):
    pass


class _Time(Data):
    timestamp: U64


class _Event(Data, rename={"skb_tracking": "skb-tracking", "skb_drop": "skb-drop"}):
    common: _Time
    kernel: ProbeStub | None = None
    userspace: ProbeStub | None = None
    skb_tracking: _Ids | None = None
    skb_drop: Drop | None = None
    packet: Raw = Raw()  # empty: there is none
    netns: Namespace | None = None
    dev: Device | None = None
    startup: _Startup | None = None


class _Packet(Data):
    len: U32
    data: bytes


Kind: TypeAlias = tuple[
    ProbeStub | None, ProbeStub | None, Drop | None, Namespace | None, Device | None, None
]
"""What events are counted by: kernel, userspace, skb-drop, netns, dev; None at the end."""

_kind = attrgetter("kernel", "userspace", "skb_drop", "netns", "dev", "startup")


RawKind: TypeAlias = bytes
"""A kind as it stands in the file: an event of nothing but what events are counted by."""


class PieceStats(NamedTuple):
    """What was counted in a piece. Startup events are not."""

    kinds: "Counter[Kind] | list[tuple[RawKind, int]]"
    series: int
    first: int | None  # ns, the earliest event
    last: int | None
    packets: list[SeenPacket] | PackedPackets  # each tracking id once


class CountLines:
    """Job for ``work_through`` that gives ``PieceStats``.

    Without ``keep_going`` lines after a damaged one are not counted. Sections that nothing is
    counted of need only be JSON.
    """

    def __init__(self, lines: LineFormat, *, keep_going: bool) -> None:
        self._lines = lines
        self._keep_going = keep_going
        line: Any = list[_Event] if lines.sorted else _Event
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(line)
        self._compiled: CountedPieces | None = None
        if compiled.library is not None and lines.is_current and not lines.sorted:
            self._compiled = CountedPieces(judge_part)
            self.longer = CountedPieces.LONGER

    def __call__(self, piece: bytes) -> Done:
        """Count all lines."""
        if self._compiled is not None and (counted := self._compiled(piece)) is not None:
            lines, kinds, first, last, packets, conversations = counted
            packed = PackedPackets(packets, conversations)
            return Done(PieceStats(kinds, 0, first, last, packed), lines)
        if self._lines.is_current:
            # As count() does, which takes seven times as long.
            lines = len(piece) - len(piece.replace(b"\n", b""))
            try:
                values = self._decoder.decode_lines(piece)
                if len(values) == lines and (not self._lines.sorted or all(values)):
                    return Done(self._count(values), lines)
            except UNDECODABLE:
                pass
        return self._one_by_one(piece)

    def _one_by_one(self, piece: bytes) -> Done:
        """Decode each line; find out which are damaged."""
        values = []
        damages = []
        lines = piece.split(b"\n")[:-1]
        for number, line in enumerate(lines):
            if line.isspace() or not line:
                continue
            try:
                events = self._lines.events(line)
                value = self._decoder.decode(self._lines.current(line))
                slims = value if self._lines.sorted else [value]
                for event, slim in zip(events, slims, strict=True):
                    if event.packet is None:
                        slim.packet = Raw()  # and not null
                values.append(value)
            except UNDECODABLE as error:
                damages.append(Damage(number, wrong_with(error)))
                if not self._keep_going:
                    break
        return Done(self._count(values), len(lines), tuple(damages))

    def _count(self, values: list[Any]) -> PieceStats:
        """Count lines that were decoded. Raises msgspec.DecodeError for a packet that is none."""
        events = list(chain.from_iterable(values)) if self._lines.sorted else values
        kinds: Counter[Any] = Counter(map(_kind, events))
        if any(kind[-1] is not None for kind in kinds):
            return self._count(self._without_startup(values))
        times = [event.common.timestamp for event in events]
        return PieceStats(
            kinds,
            len(values) if self._lines.sorted else 0,
            min(times, default=None),
            max(times, default=None),
            _packets(events),
        )

    def _without_startup(self, values: list[Any]) -> list[Any]:
        if not self._lines.sorted:
            return [event for event in values if event.startup is None]
        series = [[event for event in value if event.startup is None] for value in values]
        return [each for each in series if each]


def _packets(events: Sequence[_Event]) -> list[SeenPacket]:
    # Backwards, so that what a packet was first is what remains.
    with_packet = [event for event in reversed(events) if event.packet]
    first = {event.skb_tracking: event.packet for event in with_packet}
    alone: list[Raw] = []
    if first.pop(None, None) is not None:
        alone = [event.packet for event in with_packet if event.skb_tracking is None]
    keys = [None if ids is None else (ids.timestamp, ids.orig_head) for ids in first]
    keys += [None] * len(alone)
    packets = [*first.values(), *alone]
    decoded = _decode_packets(b"[%b]" % b",".join(packets))
    return [
        (key, packet.len, conversation(packet.data))
        for key, packet in zip(keys, decoded, strict=True)
    ]


_decode_packets = msgspec.json.Decoder(list[_Packet]).decode


def decode_kind(raw: RawKind) -> Kind:
    """Return the kind that the compiled part counted, whose parts are sound."""
    kind: Kind = _kind(_decode_event(raw))
    return kind


def judge_part(part: bytes, sections: Collection[str], *, has_common: bool) -> None:
    """Make sure that a part of a line has no more than these attributes of an event.

    Raises AnotherLayoutError or the errors of UNDECODABLE.
    """
    event = _decode_event(completed(part, has_common=has_common))
    others = (name for name in _Event.__struct_fields__[1:] if name not in sections)
    if event.common.timestamp != PARTS_TIME or any(_is_there(getattr(event, o)) for o in others):
        raise AnotherLayoutError


def _is_there(section: Any) -> bool:
    return section is not None and section != Raw()


_decode_event = msgspec.json.Decoder(_Event).decode
