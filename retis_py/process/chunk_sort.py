"""A sort in one pass, of a file whose events stand nearly in the order of time.

That is how they are collected. The file is cut into chunks, and each is sorted in memory together
with a little of what stands before and after it. A packet belongs to the chunk in whose time it was
first seen, which its tracking id says, so that every chunk gives out series of its own, and these
one after the other are the sorted file.

Whether that is right shows in the chunks themselves: each makes sure that no event of its own
belongs to a packet of another chunk that could not see it. Where one does, or where a line is not
in the layout looked for, there is no answer, and the file is sorted in two passes (sort.py).

For a chunk that begins at time B this must hold: events more than ``_AFTER`` bytes behind its begin
are of packets first seen at B or later; events more than ``_BEFORE`` bytes ahead of it happened
before B. An event never happens before its packet was first seen. So all events of packets first
seen from B until the next chunk's begin stand where this chunk sees them.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, repeat
from operator import add, itemgetter
from typing import NamedTuple

from retis_py.events.lines import UNDECODABLE
from retis_py.events.source import Source, Span
from retis_py.process.facts import JOINING, Fact, Key, decode_facts, fact_order
from retis_py.process.joins import Joiner
from retis_py.process.series_lines import IDS, INDICES
from retis_py.process.sort_index import OVS, OVS_KEY, decode_line, may_join, read_key

# In bytes. A chunk is longer than what is seen after one, for that is what it makes sure of.
CHUNK = 16 << 20  # what is held of a chunk is some four times as much
_BEFORE = 256 << 10
_AFTER = 1 << 20
_NEAR = 64 << 10  # on both sides of where a chunk begins

_OBJECT = r"\{[^}]*\}"
# The groups: up to what identifies the packet; time; the rest of the line; what identifies it.
_LINE = re.compile(
    (
        r'(\{"common":\{"timestamp":([1-9][0-9]{0,18})(?:,"smp_id":[0-9]+|)'
        rf'(?:,"task":{_OBJECT}|)\}}(?:,"kernel":{_OBJECT}|))'
        r'((,"skb-tracking":\{"orig_head":[0-9]+,"timestamp":[0-9]+|).*\})\n'
    ).encode()
)
_Line = tuple[bytes, bytes, bytes, bytes]
_head = itemgetter(0)
_time = itemgetter(1)
_tail = itemgetter(2)
_ids = itemgetter(3)

_Name = bytes | int
"""Of a series: what identifies its packet, or a number of the event that stands alone."""


class SortedChunk(NamedTuple):
    """What a chunk gives out."""

    lines: bytes  # of a sorted file
    lost: Counter[str]  # as of Sorter


class _NoAnswerError(Exception):
    """The file cannot be sorted this way."""


class ChunkSort:
    """Sorts the chunk of a file that is at a place, a job for ``shared_map``; None if it cannot.

    The file is a regular one of today's format, its events are not sorted yet and begin at byte
    ``begin``.
    """

    def __init__(self, source: Source, begin: int) -> None:
        self._source = source
        self._begin = begin

    def __call__(self, chunk: Span) -> SortedChunk | None:
        """Sort a chunk."""
        start, end = max(self._begin, chunk.offset), chunk.offset + chunk.size
        first = max(self._begin, start - _BEFORE)
        last = min(self._source.size or 0, end + _AFTER)
        if first > self._begin:
            first -= 1  # where a line begins there, its newline before it is to be found
        seen = self._source.read_span(Span(first, last - first))
        whole = 0 if first == self._begin else seen.find(b"\n") + 1
        if last != self._source.size:
            seen = seen[: seen.rfind(b"\n") + 1]
        try:
            view = _View(seen[whole:], start - first - whole, end - first - whole)
            return view.sorted()
        except (_NoAnswerError, *UNDECODABLE):
            return None


class _View:
    """What is seen of a file: a chunk, from ``start`` to ``end`` in it, and what is around it."""

    def __init__(self, content: bytes, start: int, end: int) -> None:
        self._content = content
        self._lines: list[_Line] = _LINE.findall(content)
        heads, tails = map(len, map(_head, self._lines)), map(len, map(_tail, self._lines))
        sizes = map(add, map(add, heads, tails), repeat(len("\n")))
        self._places = list(accumulate(sizes, initial=0))
        if self._places[-1] != len(content) or b"\n" in b"".join(map(_head, self._lines)):
            raise _NoAnswerError  # lines of another layout
        # Numbers of lines.
        self._start, self._end = self._number(start), self._number(end)
        self._first = start == 0
        # The chunk before this one did not see the line that goes beyond.
        self._late = self._number(start + _AFTER) - 1 if start else self._end
        # Times. As text they compare as numbers do, if all are of one length.
        self._since = self._border(start) if start else b""
        self._until = self._border(end) if end < len(content) else b"~"
        self._since_number = int(self._since or b"0")
        self._until_number = int(self._until) if end < len(content) else 1 << 64
        early = map(_time, self._lines[: self._number(max(0, end - _BEFORE))])
        late = map(_time, self._lines[self._late :])
        if (
            len(set(map(len, map(_time, self._lines)))) > 1
            or max(early, default=b"") >= self._until
            or min(late, default=self._since) < self._since
            or self._since > self._until
        ):
            raise _NoAnswerError
        self._keys: dict[_Name, Key] = {}
        self._joiner = Joiner()

    def sorted(self) -> SortedChunk:
        """Give out the chunk's series."""
        series: dict[_Name, list[_Line]] = {}
        for line in sorted(self._lines, key=_time):
            name = line[3] or id(line)
            if name in series:
                series[name].append(line)
            else:
                series[name] = [line]
        for name, lines in series.items():
            if isinstance(name, bytes):
                key = self._keys[name] = read_key(name)
                if key[0] > int(lines[0][1]):  # seen before it was first seen
                    raise _NoAnswerError
            else:
                _check_alone(lines[0])
        self._join(series)
        self._check_late()
        return SortedChunk(b"".join(self._written(series)), self._joiner.lost)

    def _number(self, place: int) -> int:
        """Return how many lines begin before a place."""
        return bisect_left(self._places, place)

    def _border(self, place: int) -> bytes:
        """Return the time at which the chunk at ``place`` begins, as the one before it does too.

        Not between the time that a packet was first seen and its first event.
        """
        near = self._lines[self._number(place - _NEAR) : self._number(place + _NEAR)]
        first: dict[bytes, int] = {}
        for _, time, _, ids in near:
            if ids:
                first[ids] = min(first.get(ids, 1 << 64), int(time))
        silent = [(read_key(ids)[0], time) for ids, time in first.items()]
        silent = [(seen, time) for seen, time in silent if seen < time]
        begin = self._number(place)
        times = [line[1] for line in self._lines[begin : begin + len(near)]]
        for time in times:
            if not any(seen < int(time) <= until for seen, until in silent):
                return time
        return times[0]

    def _join(self, series: dict[_Name, list[_Line]]) -> None:
        """Join series over Open vSwitch."""
        joiner, keys, lost = self._joiner, self._keys, Counter[str]()
        names = {key: name for name, key in keys.items()}
        joined = set()
        for fact in sorted(self._facts(), key=fact_order):
            joiner.lost.clear()
            key = joiner.join(fact)
            if joiner.lost and self._start <= fact.offset < self._end:
                if not self._first:  # what it belongs to may stand further ahead
                    raise _NoAnswerError
                lost[fact.ovs.event_type] += 1
            if key is not None and fact.key is None:
                if key[0] < self._since_number and fact.offset >= self._late:
                    raise _NoAnswerError
                line = self._lines[fact.offset]
                del series[id(line)]
                series[names[key]].append(line)
                joined.add(names[key])
        for key in joiner.aliases:
            name = names[joiner.root(key)]
            series[name] += series.pop(names[key])
            joined.add(name)
        for name in joined & series.keys():
            first = series[name][0][1]
            series[name].sort(key=_time)
            if series[name][0][1] < first:  # it comes earlier now
                raise _NoAnswerError
        joiner.lost = lost

    def _facts(self) -> Iterator[Fact]:
        """Find the events that may join series; their offsets are numbers of lines."""
        content = self._content
        place = content.find(OVS)
        while place >= 0:
            section = content[place : content.find(b"}", place) + 1]
            if may_join(section):
                facts = decode_facts(section[len(OVS_KEY) :])
                if facts.event_type in JOINING:
                    number = self._number(place) - 1
                    _, time, _, ids = self._lines[number]
                    yield Fact(int(time), number, 0, self._keys.get(ids), facts)
            place = content.find(OVS, place + 1)

    def _check_late(self) -> None:
        """Make sure that no chunk before this one would have had to see further."""
        for ids in set(map(_ids, self._lines[self._late :])):
            if ids and self._joiner.root(self._keys[ids])[0] < self._since_number:
                raise _NoAnswerError

    def _written(self, series: dict[_Name, list[_Line]]) -> list[bytes]:
        """Write the chunk's own series, in parts."""
        parts: list[bytes] = []
        keys, since, until = self._keys, self._since_number, self._until_number
        for name, lines in series.items():
            head, time, tail, _ = lines[0]
            if isinstance(name, int):
                if self._since <= time < self._until:
                    parts += (b"[", head, tail, b"]\n")
                continue
            if not since <= keys[name][0] < until:
                continue
            if time >= self._until:
                raise _NoAnswerError  # it comes after series of the next chunk
            tracking = b',"tracking":{"skb":' + tail[len(IDS) : tail.index(b"}") + 1] + b","
            numbers = INDICES
            if len(lines) > len(INDICES):
                numbers = tuple(b'"idx":%d}' % index for index in range(len(lines)))
            parts.append(b"[")
            for number, (head, _, tail, _) in zip(numbers, lines):  # noqa: B905 (more numbers)
                parts += (head, tracking, number, tail, b",")
            parts[-1] = b"]\n"
        return parts


def _check_alone(line: _Line) -> None:
    """Make sure that an event belongs to no packet, and says nothing about flows of others."""
    head, _, tail, _ = line
    event = decode_line(head + tail)
    if event.skb_tracking is not None or event.ovs_detrace is not None:
        raise _NoAnswerError
