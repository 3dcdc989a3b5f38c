"""A sort in one pass, of a file whose events stand nearly in the order of time.

That is how they are collected. The file is cut into chunks, and each is sorted in memory together
with a little of what stands before and after it. A packet belongs to the chunk in whose time it was
first seen, which its tracking id says, so that every chunk gives out series of its own, and these
one after the other are the sorted file.

Whether that is right shows in the chunks themselves: each makes sure that no event of its own
belongs to a packet of another chunk that could not see it. Where one does, or where a line is not in
the layout looked for, there is no answer, and the file has to be sorted in two passes (sort.py).

For a chunk that begins at time B: all events that stand more than ``_AFTER`` bytes behind its begin
are of packets first seen at B or later, and all that stand more than ``_BEFORE`` bytes before it
happened before B.
"""

import re
from collections import Counter
from operator import itemgetter
from typing import NamedTuple

from retis_py.events.jsonl import EventFile
from retis_py.events.lines import UNDECODABLE
from retis_py.events.source import Span
from retis_py.process.sort_index import OVS_KEY, may_join

CHUNK = 12 << 20  # bytes: what is held of it is some four times as much
_BEFORE = 256 << 10  # bytes
_AFTER = 1 << 20  # bytes

_OBJECT = r"\{[^}\n]*\}"
# The groups: up to the tracking id; time; what follows; what identifies the packet.
_LINE = re.compile(
    (
        r'^(\{"common":\{"timestamp":([1-9][0-9]{0,18})(?:,"smp_id":[0-9]+|)'
        rf'(?:,"task":{_OBJECT}|)\}}(?:,"kernel":{_OBJECT}|))'
        r'((,"skb-tracking":\{"orig_head":[0-9]+,"timestamp":[0-9]+|)[^\n]*\})\n'
    ).encode(),
    re.MULTILINE,
)
_time = itemgetter(1)
_ids = itemgetter(3)

_Event = tuple[bytes, bytes, bytes, bytes]  # the groups


class SortedChunk(NamedTuple):
    """What a chunk gives out."""

    lines: bytes  # of a sorted file
    lost: Counter[str]  # as of Sorter


class _NoAnswerError(Exception):
    """The file cannot be sorted this way."""


class ChunkSort:
    """Job for ``shared_map``: sorts the chunk of an unsorted file at a place, None if it cannot."""

    def __init__(self, file: EventFile) -> None:
        self._file = file
        self._begin = len(file.first_line) + 1

    def __call__(self, span: Span) -> SortedChunk | None:
        """Sort a chunk."""
        start, size = span
        end = start + size
        if start == 0:
            start = self._begin
        first = max(self._begin, start - _BEFORE)
        view = self._file.read_span(Span(first, end + _AFTER - first))
        begin = 0 if first == self._begin else view.index(b"\n", 0, start - first) + 1
        view = view[begin : view.rfind(b"\n") + 1]
        first += begin
        try:
            return _sorted(view, start - first, min(end - first, len(view)))
        except (_NoAnswerError, *UNDECODABLE):
            return None


def _sorted(view: bytes, start: int, end: int) -> SortedChunk:
    """Sort what stands from ``start`` to ``end``; around it is what else can be seen."""
    events: list[_Event] = _LINE.findall(view)
    if len(events) != view.count(b"\n") or len(set(map(len, map(_time, events)))) > 1:
        raise _NoAnswerError
    begins, ends = (view.count(b"\n", 0, place) for place in (start, end))
    # Times are compared as text: all are of one length.
    since = events[begins][1] if start else b""
    until = events[ends][1] if end < len(view) else b"~"
    is_late = view.count(b"\n", 0, start + _AFTER) if start else ends
    late = events[is_late:ends]
    is_early = view.count(b"\n", 0, max(0, end - _BEFORE))
    if since > until or min(map(_time, late), default=until) < since:
        raise _NoAnswerError
    if max(map(_time, events[:is_early]), default=b"") >= until:
        raise _NoAnswerError

    packets = _Packets(events, range(begins, ends))
    packets.join(_facts(view, events), complete=not start)
    if any(packets.first_seen(ids) < since for ids in set(map(_ids, late)) if ids):
        raise _NoAnswerError
    return SortedChunk(packets.lines(since, until), packets.lost)


def _facts(view: bytes, events: list[_Event]) -> list[tuple[int, bytes]]:
    """Find the sections ``ovs`` that may join series: index of the event, JSON."""
    found = []
    index = before = 0
    place = view.find(OVS_KEY)
    while place >= 0:
        section = view[place : view.index(b"}", place) + 1]
        if may_join(section):
            index += view.count(b"\n", before, place)
            before = place
            found.append((index, section[len(OVS_KEY) :]))
        place = view.find(OVS_KEY, place + 1)
    return found
