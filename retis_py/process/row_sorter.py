"""Rows of numbers sorted by the compiled part, in bounded memory: see external.py."""

import ctypes
import itertools
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import BinaryIO

from retis_py.compiled import FileMap, Pointer, address_of, library

_BLOCK = 1 << 20  # bytes given out at a time
_FORGET = 32  # blocks after which the memory of those that were read is given back


class _Run(ctypes.Structure):
    _fields_ = (("next", Pointer), ("end", Pointer))


class RowSorter:
    """Takes rows of ``width`` numbers of 64 bits, gives them back in their order, once.

    Up to ``memory`` bytes are held; beyond that they go to a file without a name in the folder for
    temporary files.
    """

    def __init__(self, memory: int, width: int) -> None:
        self._memory = memory
        self._width = width
        self._row = width * 8  # bytes
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self._runs: list[tuple[int, int]] = []  # start and end in the file

    def add(self, rows: bytes | bytearray) -> None:
        """Take rows."""
        self._held += rows
        if len(self._held) >= self._memory:
            self._spill()

    def unsorted(self) -> Iterator[bytearray]:
        """Iterate over all rows, in runs or less of them; to be done before nothing else."""
        held, self._held = self._held, bytearray()
        yield from self._blocks(held)
        if self._file is not None:
            for start, end in self._runs:
                for position in range(start, end, self._block_size):
                    self._file.seek(position)
                    yield bytearray(self._file.read(min(self._block_size, end - position)))
        self.close()

    def __iter__(self) -> Iterator[bytearray]:
        """Iterate over all rows in order, in blocks of whole rows."""
        if self._file is None:
            self._sort()
            held, self._held = self._held, bytearray()
            yield from self._blocks(held)
        else:
            self._spill()
            yield from self._merged(self._file)
        self.close()

    def close(self) -> None:
        """Give the memory and the file back; may be called again."""
        self._held = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _block_size(self) -> int:
        return _BLOCK // self._row * self._row

    def _blocks(self, held: bytearray) -> Iterator[bytearray]:
        for start in range(0, len(held), self._block_size):
            yield held[start : start + self._block_size]

    def _sort(self) -> None:
        count = len(self._held) // self._row
        if not library.rows_sort(address_of(self._held), count, self._width):
            raise MemoryError

    def _spill(self) -> None:
        if self._file is None:
            self._file = TemporaryFile(prefix="retis-sort-", buffering=0)  # noqa: SIM115 (closed by close())
        if not self._held:
            return
        self._sort()
        start = self._file.seek(0, 2)
        left = memoryview(self._held)
        while left:
            left = left[self._file.write(left) :]
        left.release()
        self._runs.append((start, start + len(self._held)))
        self._held = bytearray()

    def _merged(self, file: BinaryIO) -> Iterator[bytearray]:
        mapped = FileMap(file.fileno(), file.seek(0, 2))
        try:
            first = mapped.address or 0
            runs = (_Run * len(self._runs))(
                *[_Run(first + start, first + end) for start, end in self._runs]
            )
            room = self._block_size // self._row
            for number in itertools.count(1):
                block = bytearray(self._block_size)
                count = library.rows_merge(runs, len(runs), address_of(block), room, self._width)
                if count == 0:
                    return
                if count < room:
                    del block[count * self._row :]
                yield block
                if number % _FORGET == 0:
                    mapped.forget()
        finally:
            mapped.close()
