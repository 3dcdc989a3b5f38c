"""Sorting more records than memory should hold: sorted runs in a temporary file, merged."""

import heapq
import struct
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import BinaryIO

_LENGTH = struct.Struct("<I")
_MERGE_BUFFER = 64 << 10  # bytes read ahead of each run


class ExternalSorter:
    """Takes records of bytes, gives them back in order (of bytes, so big-endian numbers sort).

    Up to ``memory`` bytes of records are held, with some 60 bytes more for each; beyond that they
    go to a file without a name in the folder for temporary files.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._held: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._runs: list[tuple[int, int]] = []  # start and end in the file

    def add(self, record: bytes) -> None:
        """Take a record."""
        self._held.append(record)
        self._size += len(record) + 60
        if self._size >= self._memory:
            self._spill()

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over all records in order, once."""
        self._held.sort()
        if self._file is None:
            yield from self._held
        else:
            self._spill()
            runs = [self._run(self._file, start, end) for start, end in self._runs]
            yield from heapq.merge(*runs)
        self.close()

    def close(self) -> None:
        """Give the memory and the file back; may be called again."""
        self._held = []
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        if self._file is None:
            self._file = TemporaryFile(prefix="retis-sort-")  # noqa: SIM115 (closed by close())
        self._held.sort()
        start = self._file.seek(0, 2)
        for record in self._held:
            self._file.write(_LENGTH.pack(len(record)) + record)
        self._file.flush()
        self._runs.append((start, self._file.tell()))
        self._held = []
        self._size = 0

    def _run(self, file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
        """Read a run back, a buffer at a time, since others read the file too."""
        buffer = b""
        position = start
        while position < end or buffer:
            file.seek(position)
            part = file.read(min(_MERGE_BUFFER, end - position))
            position += len(part)
            buffer += part
            done = 0
            while len(buffer) - done >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(buffer, done)
                first = done + _LENGTH.size
                if len(buffer) - first < length:
                    break
                yield buffer[first : first + length]
                done = first + length
            buffer = buffer[done:]
