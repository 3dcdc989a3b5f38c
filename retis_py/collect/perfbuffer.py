"""Perf buffers, for kernels without the BPF ring buffer (before Linux 5.8): one for each CPU."""

import mmap
import os
import struct
from collections.abc import Iterator

from retis_py.collect.loader import Map
from retis_py.collect.ring import RecordSource
from retis_py.kernel import perf_event

_TYPE_SOFTWARE = 1
_COUNT_SW_BPF_OUTPUT = 10
_SAMPLE_RAW = 1 << 10
_RECORD_SAMPLE = 9
_RECORD = struct.Struct("=IHH")  # struct perf_event_header: type, misc, size
_RAW_SIZE = struct.Struct("=I")
_TIMESTAMP = struct.Struct("=Q")  # the first member of every raw event
_HEAD, _TAIL = 1024, 1032  # data_head and data_tail in struct perf_event_mmap_page
_PAGE = mmap.PAGESIZE


class PerfBuffers(RecordSource):
    """One buffer for each CPU, ``size`` bytes all together; records come out by their times."""

    def __init__(self, events: Map, size: int, cpus: list[int]) -> None:
        pages = max(1, size // len(cpus) // _PAGE)
        self._size = _PAGE << (pages.bit_length() - 1)  # a power of two, as the kernel wants
        self._buffers: list[mmap.mmap] = []
        self._descriptors: list[int] = []
        for cpu in cpus:
            attr = perf_event.Attr(
                type=_TYPE_SOFTWARE,
                config=_COUNT_SW_BPF_OUTPUT,
                sample_type=_SAMPLE_RAW,
                sample_period=1,
                wakeup_events=1 << 31,  # nobody waits: it is polled
            )
            fd = perf_event.perf_event_open(attr, -1, cpu)
            self._descriptors.append(fd)
            self._buffers.append(mmap.mmap(fd, _PAGE + self._size, mmap.MAP_SHARED))
            events.update(struct.pack("=I", cpu), struct.pack("=i", fd))
            perf_event.enable(fd)

    def drain(self, limit: int) -> list[bytes]:  # noqa: ARG002 (it is never that much)
        """Return the records there are by now, ordered by their times over all CPUs."""
        records = [record for buffer in self._buffers for record in self._drain(buffer)]
        records.sort(key=lambda record: _TIMESTAMP.unpack_from(record)[0])
        return records

    def close(self) -> None:
        """Unmap the pages."""
        for buffer in self._buffers:
            buffer.close()
        for fd in self._descriptors:
            os.close(fd)

    def _drain(self, buffer: mmap.mmap) -> Iterator[bytes]:
        (head,) = _TIMESTAMP.unpack_from(buffer, _HEAD)
        (tail,) = _TIMESTAMP.unpack_from(buffer, _TAIL)
        data = self._straighten(buffer, tail, head)
        at = 0
        while at + _RECORD.size <= len(data):
            kind, _, size = _RECORD.unpack_from(data, at)
            if size < _RECORD.size:
                break
            body = at + _RECORD.size
            if kind == _RECORD_SAMPLE:
                (length,) = _RAW_SIZE.unpack_from(data, body)
                start = body + _RAW_SIZE.size
                yield data[start : start + length]
            # Others count what was lost, which the program has counted already.
            at += size
        _TIMESTAMP.pack_into(buffer, _TAIL, head)

    def _straighten(self, buffer: mmap.mmap, tail: int, head: int) -> bytes:
        start, end = tail % self._size, head % self._size
        if tail == head:
            return b""
        if start < end:
            return buffer[_PAGE + start : _PAGE + end]
        return buffer[_PAGE + start : _PAGE + self._size] + buffer[_PAGE : _PAGE + end]
