"""Raw records out of the kernel: the BPF ring buffer, drained in bulk from its mapped pages.

Kernels without one have perf buffers (perfbuffer.py) behind the same interface.
"""

import ctypes
import mmap
import struct
from abc import ABC, abstractmethod

from retis_py.collect.loader import Map

_HEADER = struct.Struct("=I")
_HEADER_SIZE = 8  # u32 length, u32 page offset
_BUSY = 1 << 31
_DISCARDED = 1 << 30
_PAGE = mmap.PAGESIZE


class RecordSource(ABC):
    """Where records come from."""

    @abstractmethod
    def drain(self, limit: int) -> list[bytes]:
        """Return the records committed by now, about ``limit`` bytes, and make room for others."""

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
        self._producer_view = self._view[:8].cast("Q")
        self._consumer = ctypes.c_uint64.from_buffer(self._consumer_page)

    def drain(self, limit: int) -> list[bytes]:
        """Return the records committed by now, in order."""
        pages, mask, unpack = self._pages, self._mask, _HEADER.unpack_from
        position = self._consumer.value
        end = min(self._producer_view[0], position + limit)
        records = []
        while position < end:
            at = _PAGE + (position & mask)
            (length,) = unpack(pages, at)
            if length & _BUSY:
                break
            size = length & ~_DISCARDED
            position += (size + _HEADER_SIZE + 7) & ~7
            if not length & _DISCARDED:
                records.append(pages[at + _HEADER_SIZE : at + _HEADER_SIZE + size])
        # Handed back once for all: the kernel looks at it for each record it makes.
        self._consumer.value = position
        return records

    def close(self) -> None:
        """Unmap the pages."""
        del self._consumer
        self._producer_view.release()
        self._view.release()
        self._pages.close()
        self._consumer_page.close()
