"""The layout in which retis and we write events: sections in a fixed order, no white space.

JSON allows any other, and such lines are read too; but a line in this layout is taken apart where
its sections begin, which takes less than to decode it. What is found is JSON that was not looked
at: before use decode it, between what stands before and after it here, and decode the whole line
where that fails or gives other sections than the part's. So nothing that is no event can pass: what
is looked for cannot be in a string, where its quotes would be escaped, and a part that ends inside
something nested is no JSON.
"""

from functools import lru_cache
from typing import TypeAlias

import msgspec

from retis_py.events.sections.base import U64, Data

_SKB_ADDRESS = b',"skb":'  # in skb-tracking
_TRACKING = b',"tracking":{"skb":{'
_DROP = b',"skb-drop":{'
_PACKET = b',"packet":{'
_SKB = b',"skb":{'
_NETNS = b',"netns":{'
_DEVICE = (_NETNS, b',"dev":{')
_OTHERS = (b',"ovs":{', b',"nft":{', b',"ct":{', b',"ovs-detrace":{', b',"startup":{')

_MAX_DIGITS = 19  # of a timestamp; what is longer may not be one

Parts: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes, bytes]
"""An event's parts, together all of it but for its begin and its last brace:

1. the timestamp's digits;
2. ``common`` from behind these on, ``kernel`` and ``userspace``; never empty;
3. what identifies the packet: ``tracking``, ``skb-tracking``, ``skb-drop``;
4. ``packet``;
5. ``skb``;
6. all other sections, ``netns`` and ``dev`` first.

Parts 3 to 6 begin with a comma, or are empty.
"""

Tracked: TypeAlias = tuple[bytes, bytes, bytes, int]
"""An event that is only to be told apart from others:

1. the timestamp's digits;
2. ``skb-tracking`` from the comma before it up to the key ``skb``, or nothing if it lacks;
3. the event, but for its begin and its last brace;
4. where ``skb-tracking`` begins in 3, or -1.
"""

BEGIN = b'{"common":{"timestamp":'
"""What each event begins with."""
IDS = b',"skb-tracking":'
"""What a packet's id begins with."""
END = b"}"
"""What each event ends with."""
_COMMON = b',"common":{'
_BETWEEN_EVENTS = END + b"," + BEGIN
_BETWEEN_LINES = END + b"\n" + BEGIN
_BETWEEN_SERIES = END + b"]\n[" + BEGIN

PARTS_TIME = (1 << 64) - 1
"""Timestamp of events made of a part; one that is none."""


class _Time(Data):
    timestamp: U64


class _Timed(Data):
    common: _Time


_decode_timed = msgspec.json.Decoder(_Timed).decode


class AnotherLayoutError(ValueError):
    """Lines are not in this layout, or not only: decode them one by one."""


def completed(part: bytes, *, has_common: bool = False) -> bytes:
    """Make an event of a part alone: of part 2, which has ``common``, or of one of 3 to 6.

    Raises AnotherLayoutError.
    """
    # An event that goes on in another line, or whose time is told once more and then counts.
    if b"\n" in part or _COMMON in part:
        raise AnotherLayoutError
    return b"%b%d%b%b}" % (BEGIN, PARTS_TIME, b"" if has_common else b"}", part)


def split_lines(lines: bytes) -> list[Parts]:
    """Take apart the events of lines. Raises AnotherLayoutError."""
    return _parts(_events(lines), IDS)


def split_series(lines: bytes) -> tuple[list[Parts], list[int]]:
    """Take apart the events of a sorted file's lines; return how many events each line has too.

    Raises AnotherLayoutError.
    """
    if not (lines.startswith(b"[" + BEGIN) and lines.endswith(b"}]\n")):
        raise AnotherLayoutError
    series = lines[len(b"[" + BEGIN) : -len(b"}]\n")].split(_BETWEEN_SERIES)
    events = [each.split(_BETWEEN_EVENTS) for each in series]
    return _parts([event for each in events for event in each], _TRACKING), list(map(len, events))


def split_tracked(lines: bytes) -> list[Tracked]:
    """Find out which packets lines are about. Raises AnotherLayoutError or msgspec.DecodeError.

    What is behind the packet's id is not looked at, nor are events without one.
    """
    tracked: list[Tracked] = []
    for event in _events(lines):
        find = event.find
        rest = find(b",")
        time = event[:rest]
        if not time.isdigit():
            rest -= len(END)
            time = _time_alone(time)
        ids = find(IDS, rest)
        if ids >= 0:
            check_head(event[rest:ids])
            name = event[ids : find(_SKB_ADDRESS, ids)]
        else:
            name = b""
        if b"\n" in event or time < b"1" or rest > _MAX_DIGITS:
            raise AnotherLayoutError
        tracked.append((time, name, event, ids))
    return tracked


@lru_cache(maxsize=8192)
def check_head(head: bytes) -> None:
    """Make sure that what is before the packet's id is whole sections."""
    if _decode_timed(completed(head, has_common=True)).common.timestamp != PARTS_TIME:
        raise AnotherLayoutError


def _events(lines: bytes) -> list[bytes]:
    """Split lines where events begin, and take what surrounds them off."""
    if not (lines.startswith(BEGIN) and lines.endswith(END + b"\n")):
        raise AnotherLayoutError
    return lines[len(BEGIN) : -len(END + b"\n")].split(_BETWEEN_LINES)


def _parts(events: list[bytes], identity: bytes) -> list[Parts]:
    """Take events apart, in which ``identity`` is what part 3 begins with where nothing lacks."""
    parts: list[Parts] = []
    # Of one packet there are often several events in a row: comparing is faster than looking.
    same, ids_part, packet_part = b"\n", b"", b""
    for event in events:
        find = event.find
        rest = find(b",")
        time = event[:rest]
        if not time.isdigit():
            rest -= len(END)
            time = _time_alone(time)
        ids = find(identity, rest)
        if event.startswith(same, ids):
            skb = ids + len(same)
        else:
            packet = find(_PACKET, ids)
            skb = find(_SKB, packet)
            same, ids_part, packet_part = event[ids:skb], event[ids:packet], event[packet:skb]
        device = find(_NETNS, skb)
        if device < 0:  # or what is before it, as from byte -1, the last, nothing is found
            ids, packet, skb, device = _find_parts(event, rest)
            same, ids_part, packet_part = b"\n", event[ids:packet], event[packet:skb]
        if time < b"1" or rest > _MAX_DIGITS:
            raise AnotherLayoutError
        parts.append(
            (time, event[rest:ids], ids_part, packet_part, event[skb:device], event[device:])
        )
    return parts


def _time_alone(time: bytes) -> bytes:
    """Return a timestamp behind which ``common`` ends."""
    if not (time.endswith(END) and time[: -len(END)].isdigit()):
        raise AnotherLayoutError
    return time[: -len(END)]


def _find_parts(event: bytes, rest: int) -> tuple[int, int, int, int]:
    """Do the same where sections lack: empty parts begin where the next one does."""
    device = _first(event, _DEVICE, rest, len(event))
    if device == len(event):
        others = [found for section in _OTHERS if (found := event.find(section, rest)) >= 0]
        device = min(others, default=len(event))
    skb = _first(event, (_SKB,), rest, device)
    packet = _first(event, (_PACKET,), rest, skb)
    ids = _first(event, (_TRACKING, IDS, _DROP), rest, packet)
    return ids, packet, skb, device


def _first(event: bytes, sections: tuple[bytes, ...], start: int, end: int) -> int:
    """Return where the first of the sections begins that is there; ``end`` if none is."""
    for section in sections:
        if (found := event.find(section, start, end)) >= 0:
            return found
    return end
