"""First pass of a sort: which packet each line of a piece is about, and where the line stands.

Lines are not decoded but looked at where their layout (events/layout.py) has what is needed; a line
in another layout is decoded. Events that say how Open vSwitch handed packets to user space and back
are decoded always: they join series (process/joins.py).
"""

from array import array
from typing import NamedTuple

import msgspec

from retis_py.events.layout import BEGIN, END, IDS, AnotherLayoutError, split_tracked
from retis_py.events.lines import UNDECODABLE, wrong_with
from retis_py.events.sections.base import U32, U64, Data
from retis_py.process.facts import JOINING, Fact, Key, OvsFacts, pack_fact
from retis_py.process.work import Damage, Done

Flow = tuple[tuple[int, ...], int, int]
"""What identifies a flow of Open vSwitch: ``ufid``, ``flow``, ``sf_acts``."""


class _Time(Data):
    timestamp: U64


class _Ids(Data):
    orig_head: U64
    timestamp: U64


class _Detrace(Data):
    ufid: tuple[U32, U32, U32, U32]
    flow: U64
    sf_acts: U64


class _Event(Data, rename={"skb_tracking": "skb-tracking", "ovs_detrace": "ovs-detrace"}):
    common: _Time
    skb_tracking: _Ids | None = None
    ovs: OvsFacts | None = None
    ovs_detrace: _Detrace | None = None


class Index(NamedTuple):
    """What is known of a piece's lines.

    Places are flat, three numbers each: time of the event in ns; offset of its line in the piece;
    extent: the line's size without newline in the lower 32 bits, above it where the section
    ``skb-tracking`` begins in it, 0 if that was not looked for.

    An event that is a fact and has a key is among the packet's places too.
    """

    packets: "dict[Key, array[int]]"
    alone: "array[int]"  # places of events that belong to no packet
    facts: list[bytes]  # packed, see facts.py
    flows: dict[Flow, tuple[int, int]]  # offset and size of ovs-detrace events


_decode_ids = msgspec.json.Decoder(_Ids).decode
_decode_line = msgspec.json.Decoder(_Event).decode

_OVS = b',"ovs":{"event_type":"'
# Packets in the data path: many, and nothing to join by where there is no queue id.
_PLAIN = (_OVS + b"flow_lookup", _OVS + b"action_execute")
_AROUND = len(BEGIN) + len(END)
_QUEUE_ID = b'"queue_id":'


class IndexLines:
    """Job for ``work_through``: an ``Index`` of each piece of an unsorted file in today's format.

    Without ``keep_going`` lines after a damaged one are left out.
    """

    def __init__(self, *, keep_going: bool = False) -> None:
        self._keep_going = keep_going

    def __call__(self, piece: bytes) -> Done:
        """Look at all lines."""
        try:
            return self._index(piece)
        except (AnotherLayoutError, *UNDECODABLE):
            return self._one_by_one(piece)

    def _index(self, piece: bytes) -> Done:
        """Do it without decoding what cannot join series."""
        index = Index({}, array("Q"), [], {})
        by_ids: dict[bytes, list[int]] = {}
        has_ovs = _OVS in piece
        offset = 0
        events = split_tracked(piece)
        for time, ids, event, place in events:
            size = len(event) + _AROUND
            ovs = event.find(_OVS, place) if has_ovs else -1
            if not ids or (ovs >= 0 and _may_join(event, ovs)):
                ids_place = len(BEGIN) + place if ids else 0
                self.look_at(BEGIN + event + END, offset, ids_place, index)
            else:
                numbers = (int(time), offset, (len(BEGIN) + place << 32) + size)
                if ids in by_ids:
                    by_ids[ids] += numbers
                else:
                    by_ids[ids] = [*numbers]
            offset += size + 1
        for ids, places in by_ids.items():
            _add(index.packets, _read_key(ids), array("Q", places))
        return Done(index, len(events))

    def _one_by_one(self, piece: bytes) -> Done:
        """Decode each line; find out which are damaged."""
        index = Index({}, array("Q"), [], {})
        damages = []
        lines = piece.split(b"\n")[:-1]
        offset = 0
        for number, line in enumerate(lines):
            if line and not line.isspace():
                try:
                    self.look_at(line, offset, 0, index)
                except UNDECODABLE as error:
                    damages.append(Damage(number, wrong_with(error)))
                    if not self._keep_going:
                        break
            offset += len(line) + 1
        return Done(index, len(lines), tuple(damages))

    def look_at(self, line: bytes, offset: int, ids_place: int, index: Index) -> None:
        """Decode a line."""
        event = _decode_line(line)
        if not ids_place:  # it may be put together anew, which needs all of it
            msgspec.json.decode(line)
        time = event.common.timestamp
        _check_u64(time, 0 if event.ovs is None else event.ovs.upcall_ts or 0)
        place = (time, offset, (ids_place << 32) + len(line))
        key = None
        if (ids := event.skb_tracking) is not None:
            key = _key(ids)
            _add(index.packets, key, array("Q", place))
        if event.ovs is not None and event.ovs.event_type in JOINING:
            index.facts.append(pack_fact(Fact(*place, key, event.ovs)))
        elif key is None:
            index.alone.extend(place)
        if (flow := event.ovs_detrace) is not None:
            index.flows[flow.ufid, flow.flow, flow.sf_acts] = (offset, len(line))


def _may_join(event: bytes, ovs: int) -> bool:
    """Whether series may be joined by an event whose section ``ovs`` begins at a place."""
    return not event.startswith(_PLAIN, ovs) or event.find(_QUEUE_ID, ovs) >= 0


def _read_key(ids: bytes) -> Key:
    """Read ``,"skb-tracking":{"orig_head":N,"timestamp":N``. Raises msgspec.DecodeError."""
    return _key(_decode_ids(ids[len(IDS) :] + b"}"))


def _key(ids: _Ids) -> Key:
    _check_u64(ids.timestamp, ids.orig_head)
    return ids.timestamp, ids.orig_head


def _check_u64(*numbers: int) -> None:
    """Make sure of what msgspec cannot (events/sections/base.py)."""
    if max(numbers) >= 1 << 64:
        raise msgspec.ValidationError("Expected `int` < 2^64")


def _add(packets: dict[Key, "array[int]"], key: Key, places: "array[int]") -> None:
    known = packets.get(key)
    if known is None:
        packets[key] = places
    else:
        known.extend(places)
