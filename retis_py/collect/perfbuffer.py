"""Perf buffers, for kernels without the BPF ring buffer (before Linux 5.8): one for each CPU."""

import mmap
import os
import struct

from retis_py.collect.maps import Map
from retis_py.collect.ring import Batch, RecordSource, record_bytes
from retis_py.kernel import perf_event

_TYPE_SOFTWARE = 1
_COUNT_SW_BPF_OUTPUT = 10
_SAMPLE_RAW = 1 << 10
_RECORD_SAMPLE = 9
_RECORD = struct.Struct("=IHH")  # struct perf_event_header: type, misc, size
_RAW_SIZE = struct.Struct("=I")
_POSITION = struct.Struct("=Q")
_HEAD, _TAIL = 1024, 1032  # data_head and data_tail in struct perf_event_mmap_page
_PAGE = mmap.PAGESIZE


class PerfBuffer(RecordSource):
    """One CPU's buffer of ``size`` bytes, a power of two; records come out as a ring has them."""

    def __init__(self, events: Map, size: int, cpu: int) -> None:
        self._size = size
        attr = perf_event.Attr(
            type=_TYPE_SOFTWARE,
            config=_COUNT_SW_BPF_OUTPUT,
            sample_type=_SAMPLE_RAW,
            sample_period=1,
            wakeup_events=1 << 31,  # nobody waits: it is polled
        )
        self._fd = perf_event.perf_event_open(attr, -1, cpu)
        self._buffer = mmap.mmap(self._fd, _PAGE + size, mmap.MAP_SHARED)
        events.update(struct.pack("=I", cpu), struct.pack("=i", self._fd))
        perf_event.enable(self._fd)
        self._next = 0  # where the batch that was handed out ends

    def peek(self, limit: int) -> Batch:
        """Return the records there are by now."""
        (head,) = _POSITION.unpack_from(self._buffer, _HEAD)
        (tail,) = _POSITION.unpack_from(self._buffer, _TAIL)
        data = self._straighten(tail, head)
        records: list[bytes] = []
        size = at = 0
        while at + _RECORD.size <= len(data):
            kind, _, length = _RECORD.unpack_from(data, at)
            if length < _RECORD.size:
                at = len(data)
                break
            if kind == _RECORD_SAMPLE:
                body = at + _RECORD.size
                (raw,) = _RAW_SIZE.unpack_from(data, body)
                start = body + _RAW_SIZE.size
                record = record_bytes(data[start : start + raw])
                if size + len(record) > limit:
                    break
                records.append(record)
                size += len(record)
            # Others count what was lost, which the program has counted already.
            at += length
        self._next = tail + at
        complete = at >= len(data)
        return Batch(b"".join(records), len(records), complete, not complete)

    def advance(self, size: int) -> None:  # noqa: ARG002 (it is all of the batch)
        """Hand the space back."""
        _POSITION.pack_into(self._buffer, _TAIL, self._next)

    def close(self) -> None:
        """Unmap the pages."""
        self._buffer.close()
        os.close(self._fd)

    def _straighten(self, tail: int, head: int) -> bytes:
        start, end = tail % self._size, head % self._size
        if tail == head:
            return b""
        if start < end:
            return self._buffer[_PAGE + start : _PAGE + end]
        return self._buffer[_PAGE + start : _PAGE + self._size] + self._buffer[_PAGE : _PAGE + end]


def perf_buffers(events: Map, size: int, cpus: list[int]) -> list[RecordSource]:
    """Make a buffer for each CPU, ``size`` bytes all together at most (a page each at least)."""
    pages = max(1, size // len(cpus) // _PAGE)
    each = _PAGE << (pages.bit_length() - 1)  # a power of two, as the kernel wants
    return [PerfBuffer(events, each, cpu) for cpu in cpus]
