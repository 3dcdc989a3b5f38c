"""First pass of a sort: which packet each line of a piece is about, and where the line stands.

Lines are not decoded but looked at where their layout (events/layout.py) has what is needed; a line
in another layout is decoded. Events that say how Open vSwitch handed packets to user space and back
are decoded always: they join series (process/joins.py).
"""

import re
from array import array
from typing import NamedTuple

import msgspec

from retis_py.events.lines import UNDECODABLE, wrong_with
from retis_py.events.sections.base import U32, U64, Data
from retis_py.process.facts import JOINING, Fact, Key, OvsFacts, decode_facts, pack_fact
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


decode_line = msgspec.json.Decoder(_Event).decode

# Up to what identifies the packet, as in events/layout.py; then section by section up to "ovs".
_OBJECT = r"\{[^}]*\}"
_HEAD = (
    r'\{"common":\{"timestamp":([1-9][0-9]{0,18})(?:,"smp_id":[0-9]+|)'
    rf'(?:,"task":{_OBJECT}|)\}}(?:,"kernel":{_OBJECT}|)'
    r'(,"skb-tracking":\{"orig_head":[0-9]+,"timestamp":[0-9]+)'
)
_END = r"[^\n]*\}\n"
_LINE = re.compile(f"{_HEAD}(){_END}".encode())
_LINE_OVS = re.compile(
    rf'{_HEAD}[^}}]*\}}(?:,"skb-drop":{_OBJECT}|)(?:,"packet":{_OBJECT}|)'
    r'(?:,"skb":\{(?:"[^}]*\}(?:,"[^}]*\})*|)\}|)'
    rf'(?:,"netns":{_OBJECT}|)(?:,"dev":{_OBJECT}|)(,"ovs":{_OBJECT}|){_END}'.encode()
)
_IDS = b',"skb-tracking":'
OVS_KEY = b',"ovs":'
OVS = b',"ovs":{"event_type":"'
# Packets in the data path: many, and nothing to join by where there is no queue id.
_PLAIN = (OVS + b"flow_lookup", OVS + b"action_execute")
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
            return self._index(piece, decode_all=False)
        except UNDECODABLE:  # what looked like an id is none
            return self._index(piece, decode_all=True)

    def _index(self, piece: bytes, *, decode_all: bool) -> Done:
        index = Index({}, array("Q"), [], {})
        by_ids: dict[bytes, array[int]] = {}
        others = []  # start and end of what is decoded
        end = number = 0
        known = _LINE_OVS if OVS in piece else _LINE
        for match in () if decode_all else known.finditer(piece):
            start, next_end = match.span()
            if start != end:
                others.append((end, start))
            end = next_end
            time, ids, ovs = match.groups()
            extent = (match.start(2) - start << 32) + end - start - 1
            if ovs and may_join(ovs):
                facts = decode_facts(ovs[len(OVS_KEY) :])
                fact = Fact(int(time), start, extent, read_key(ids), facts)
                index.facts.append(pack_fact(fact))
            places = by_ids.get(ids)
            if places is None:
                places = by_ids[ids] = array("Q")
            places.extend((int(time), start, extent))
            number += 1
        if end != len(piece):
            others.append((end, len(piece)))
        for ids, places in by_ids.items():
            _add(index.packets, read_key(ids), places)
        damages = []
        for start, end in others:
            offset = start
            for line in piece[start : end - 1].split(b"\n"):
                number += 1
                if line and not line.isspace():
                    try:
                        self._look_at(line, offset, index)
                    except UNDECODABLE as error:
                        damages.append(Damage(piece.count(b"\n", 0, offset), wrong_with(error)))
                        if not self._keep_going:
                            return Done(index, number, tuple(damages))
                offset += len(line) + 1
        return Done(index, number, tuple(damages))

    def _look_at(self, line: bytes, offset: int, index: Index) -> None:
        """Decode a line."""
        event = decode_line(line)
        time = event.common.timestamp
        place = (time, offset, len(line))
        key = None
        if (ids := event.skb_tracking) is not None:
            key = (ids.timestamp, ids.orig_head)
            _add(index.packets, key, array("Q", place))
        if event.ovs is not None and event.ovs.event_type in JOINING:
            index.facts.append(pack_fact(Fact(*place, key, event.ovs)))
        elif key is None:
            index.alone.extend(place)
        if (flow := event.ovs_detrace) is not None:
            index.flows[flow.ufid, flow.flow, flow.sf_acts] = (offset, len(line))


def may_join(ovs: bytes) -> bool:
    """Whether series may be joined by this section ``ovs``."""
    return not ovs.startswith(_PLAIN) or _QUEUE_ID in ovs


def read_key(ids: bytes) -> Key:
    """Read ``,"skb-tracking":{"orig_head":N,"timestamp":N``. Raises msgspec.DecodeError."""
    found = msgspec.json.decode(ids.removeprefix(_IDS) + b"}", type=_Ids)
    return found.timestamp, found.orig_head


def _add(packets: dict[Key, "array[int]"], key: Key, places: "array[int]") -> None:
    known = packets.get(key)
    if known is None:
        packets[key] = places
    else:
        known.extend(places)
