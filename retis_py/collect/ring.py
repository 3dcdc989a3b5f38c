"""Where records come from: the BPF ring buffer, looked at in its mapped pages.

Kernels without one have perf buffers (perfbuffer.py) behind the same interface.
"""

import ctypes
import mmap
from abc import ABC, abstractmethod
from typing import NamedTuple

from retis_py.collect.maps import Map

HEADER_SIZE = 8
"""Of a record in a ring, in bytes: u32 length with the flags below, u32 page offset."""

BUSY = 1 << 31
DISCARDED = 1 << 30
_PAGE = mmap.PAGESIZE


class Batch(NamedTuple):
    """Records as they lie in the ring, one behind the other with their headers.

    ``records`` counts them, discarded ones too. ``complete`` says that these are all there are,
    ``limited`` that there are more and only the limit kept them out; neither, that the next one is
    being written.
    """

    data: memoryview | bytes
    records: int
    complete: bool
    limited: bool = False


class RecordSource(ABC):
    """Records in the order in which they were begun."""

    @abstractmethod
    def peek(self, limit: int) -> Batch:
        """Return the records committed by now, at most ``limit`` bytes of whole ones.

        They stay where they are until ``advance``; the batch is not valid afterwards.
        """

    @abstractmethod
    def advance(self, size: int) -> None:
        """Make room for others: ``size`` bytes of the last batch were taken, all of it or none."""

    @abstractmethod
    def close(self) -> None:
        """Give the memory back."""


class RingBuffer(RecordSource):
    """A BPF ring buffer (kernel/bpf/ringbuf.c).

    Its first page holds the consumer's position and its second the producer's; the data follows
    and is mapped twice in a row, so that no record wraps.
    """

    def __init__(self, ring: Map, size: int) -> None:
        self._mask = size - 1
        self._consumer_page = mmap.mmap(ring.fd, _PAGE, mmap.MAP_SHARED)
        self._pages = mmap.mmap(
            ring.fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE
        )
        self._view = memoryview(self._pages)
        self._producer = self._view[:8].cast("Q")
        self._data = self._view[_PAGE:]
        self._words = self._data.cast("I")
        self._consumer = ctypes.c_uint64.from_buffer(self._consumer_page)
        self._steps = _Steps()

    def peek(self, limit: int) -> Batch:
        """Return the records committed by now, in order."""
        produced, consumed = self._producer[0], self._consumer.value
        start = consumed & self._mask
        words, steps = self._words, self._steps
        # In words of four bytes, whose first one of a record is its length.
        at = first = start >> 2
        last = first + (min(produced - consumed, max(limit, 0)) >> 2)
        records = step = 0
        # The cheapest way found to walk along: 60 ns a record.
        while at < last:
            step = steps[words[at]]
            at += step
            records += 1
        busy = step == _ENDLESS
        if busy or (at - first) << 2 > limit:  # one too far
            at -= step
            records -= 1
        end = at << 2
        complete = end - start == produced - consumed
        return Batch(self._data[start:end], records, complete, not complete and not busy)

    def advance(self, size: int) -> None:
        """Hand the space back."""
        # Once for many records: the kernel looks at it for each that it makes.
        self._consumer.value += size

    @property
    def fill(self) -> float:
        """How full it is, 0 to 1."""
        return (self._producer[0] - self._consumer.value) / (self._mask + 1)

    def close(self) -> None:
        """Unmap the pages."""
        del self._consumer
        for view in (self._words, self._data, self._producer, self._view):
            view.release()
        self._pages.close()
        self._consumer_page.close()


class _Steps(dict[int, int]):
    """From a record's length, flags included, to how far it is to the next one, in words."""

    def __missing__(self, length: int) -> int:
        step = _ENDLESS
        if not length & BUSY:
            step = ((length & ~DISCARDED) + HEADER_SIZE + 7 >> 3) << 1
            self[length] = step
        return step


# The step at a record that is being written: beyond any end.
_ENDLESS = 1 << 40


def record_bytes(data: bytes) -> bytes:
    """Put a record's header before it and pad it, as a ring has it."""
    return len(data).to_bytes(4, "little") + bytes(4) + data + bytes(-len(data) % 8)
