"""Records of several rings put in order by their times, while more of them come.

A record may be handed on once nothing older can come. Chunks say when the round began in which they
were taken: what a ring held then, and was not being written, is in that round's chunks or earlier
ones. A record has the time at which its probe fired, some microseconds before it is in the ring;
what takes longer (a function's return that has its entry's time) comes out late, never not at all.
"""

from bisect import bisect_left
from itertools import chain
from operator import itemgetter

from retis_py.collect.ring import BUSY, DISCARDED, HEADER_SIZE
from retis_py.collect.spool_format import Chunk, Decoded
from retis_py.events.wire import HEADER

MARGIN = 5_000_000
"""How long (ns) a record may take from its time to the ring and still come out in order."""

_END = (1 << 63) - 1
_time_of = itemgetter(0)

Timed = tuple[int, bytes]
"""A record and its time."""


class DamagedChunkError(Exception):
    """A chunk holds something else than records."""


class Merge:
    """Takes chunks in the order of the spool, gives records in the order of their times."""

    def __init__(self, rings: int, start: Decoded) -> None:
        self.parsed = start.parsed
        self._start = start
        self._safe = [0] * rings  # by ring: what is older than this is all there
        self._round = 0
        self._open: set[int] = set()  # rings that still held something when they were looked at
        self._records: list[Timed] = []  # sorted, but for what was added since
        self._added: list[Timed] = []
        self._chunks: list[tuple[int, int]] = []  # place and latest time, of those not handed on
        self._given = start.before

    def add(self, chunk: Chunk, offset: int, content: bytes, end: int) -> None:
        """Take the chunk at ``offset`` (its header's), which ends at ``end``.

        Raises:
            DamagedChunkError: that is none.
        """
        if chunk.ring >= len(self._safe):
            raise DamagedChunkError(f"of ring {chunk.ring}, of which there are {len(self._safe)}")
        if chunk.time != self._round:
            self._end_round()
            self._round = chunk.time
        records = split(content)
        if offset < self._start.parsed:  # the decoder that was killed had seen it
            records = [record for record in records if record[0] >= self._start.before]
        latest = max(map(_time_of, records), default=0)
        if chunk.complete:
            self._open.discard(chunk.ring)
        else:
            self._open.add(chunk.ring)
            self._see(chunk.ring, latest - MARGIN)
        if records:
            self._added += records
            self._chunks.append((offset, latest))
        self.parsed = end

    def clear(self, time: int) -> None:
        """Know that all records older than ``time`` were added."""
        for ring in range(len(self._safe)):
            self._see(ring, time)

    def release(self) -> None:
        """Give out all that waits for more, since more can come only when it is gone."""
        if latest := max(map(_time_of, chain(self._records, self._added)), default=0):
            self.clear(latest + 1)

    def finish(self) -> None:
        """Know that there are no more."""
        self.clear(_END)

    def take(self, most: int) -> list[bytes]:
        """Return the next records in order, as far as nothing can come before them."""
        if self._added:
            self._records += self._added
            self._records.sort(key=_time_of)
            self._added = []
        safe = min(self._safe)
        count = min(bisect_left(self._records, safe, key=_time_of), most)
        # Of records with the time of the next one some may be given: they count as not given.
        self._given = min(safe, self._records[count][0]) if count < len(self._records) else safe
        taken = [record for _, record in self._records[:count]]
        del self._records[:count]
        return taken

    @property
    def waiting(self) -> int:
        """How many records there are that were not taken."""
        return len(self._records) + len(self._added)

    def decoded(self) -> Decoded:
        """Return how far it is, where all that was taken is safe."""
        before = self._given
        self._chunks = [chunk for chunk in self._chunks if chunk[1] >= before]
        unread = self._chunks[0][0] if self._chunks else self.parsed
        return Decoded(unread, max(self.parsed, self._start.parsed), before)

    def _end_round(self) -> None:
        """All rings that were not left with something in them are seen up to the round's begin."""
        for ring in range(len(self._safe)):
            if ring not in self._open:
                self._see(ring, self._round - MARGIN)
        self._open.clear()

    def _see(self, ring: int, time: int) -> None:
        self._safe[ring] = max(self._safe[ring], time)


def split(content: bytes) -> list[Timed]:
    """Take a chunk's records apart, discarded ones left out.

    Raises:
        DamagedChunkError: it holds something else.
    """
    found: list[Timed] = []
    add = found.append
    view = memoryview(content)
    words, times = view.cast("I"), view.cast("Q")
    at, end = 0, len(content)
    while at < end:
        length = words[at >> 2]
        size = length & ~DISCARDED
        after = at + HEADER_SIZE + size
        if length & BUSY or size < HEADER.size or after > end:
            if length & DISCARDED and after <= end:
                at = after + 7 & ~7
                continue
            raise DamagedChunkError(f"no record at byte {at}")
        if not length & DISCARDED:
            add((times[(at >> 3) + 1], content[at + HEADER_SIZE : after]))
        at = after + 7 & ~7
    return found
