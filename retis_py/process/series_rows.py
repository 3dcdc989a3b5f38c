"""Second pass of a sort by the compiled part: the same as series_lines.py."""

import ctypes
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

from retis_py.compiled import FileMap, Pointer, address_of, library
from retis_py.events.source import Source
from retis_py.process.index_rows import ALONE, ROW
from retis_py.process.packets import Series
from retis_py.process.series_lines import SeriesLines
from retis_py.process.sort_index import Flow

_ROOM = 1 << 20  # bytes written at a time, at first
_KEPT_MAPPED = 32 << 20  # as in series_lines.py
_ALL_WRITTEN, _MORE_ROOM = 0, 1
_ANY_KEY = (0, 0)


class _Text(ctypes.Structure):
    _fields_ = (("at", Pointer), ("size", ctypes.c_size_t))


class _Writing(ctypes.Structure):
    _fields_ = (
        ("maps", ctypes.POINTER(_Text)),
        ("map_count", ctypes.c_size_t),
        ("has_flows", ctypes.c_bool),
        ("rows", Pointer),
        ("row_count", ctypes.c_size_t),
        ("done", ctypes.c_size_t),
        ("out", Pointer),
        ("room", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
    )


class SeriesRows:
    """Writes series as ``SeriesLines`` does, from rows in the order of series."""

    def __init__(self, sources: Sequence[Source], flows: Mapping[Flow, tuple[int, int]]) -> None:
        self._python = SeriesLines(sources, flows)
        self._maps = [FileMap(source.fileno(), source.size or 0) for source in sources]
        maps = (_Text * len(sources))(*[_Text(each.address, each.size) for each in self._maps])
        self._writing = _Writing(maps=maps, map_count=len(maps), has_flows=bool(flows))
        self._out = bytearray()
        self._read = 0
        self._make_room(_ROOM)

    def lines(self, blocks: Iterable[bytearray]) -> Iterator[bytes]:
        """Iterate over pieces of a sorted file, whole lines each. Blocks are of whole rows."""
        begun = bytearray()  # rows of a series that may go on
        for block in blocks:
            rows = begun + block
            whole = library.rows_whole(address_of(rows), len(rows) // (ROW * 8)) * ROW * 8
            begun = rows[whole:]
            yield from self._written(rows[:whole])
        yield from self._written(begun)

    def close(self) -> None:
        """Unmap the files."""
        self._python.close()
        for each in self._maps:
            each.close()

    def _written(self, rows: bytearray) -> Iterator[bytes]:
        writing = self._writing
        writing.rows, writing.row_count, writing.done = address_of(rows), len(rows) // (ROW * 8), 0
        while writing.done < writing.row_count:
            state = library.series_write(ctypes.byref(writing))
            if writing.size:
                yield self._taken()
            elif state == _MORE_ROOM:
                self._make_room(2 * len(self._out))
            elif state != _ALL_WRITTEN:
                yield self._by_python(rows)

    def _taken(self) -> bytes:
        """Take what was written."""
        with memoryview(self._out) as out:
            written = bytes(out[: self._writing.size])
        self._writing.size = 0
        self._read += len(written)
        if self._read > _KEPT_MAPPED:
            self._read = 0
            for each in self._maps:
                each.forget()
        return written

    def _by_python(self, rows: bytearray) -> bytes:
        """Write the next series."""
        with memoryview(rows) as raw, raw.cast("Q") as numbers:
            start = self._writing.done * ROW
            series = numbers[start : start + 2].tolist()
            key = None if numbers[start + ROW - 1] & ALONE else _ANY_KEY
            places = array("Q")
            while start < len(numbers) and numbers[start : start + 2].tolist() == series:
                time, offset, extent = numbers[start + 2 : start + ROW]
                places.extend((time, offset, extent & ~ALONE))
                start += ROW
        self._writing.done = start // ROW
        return self._python([Series(key, places)])

    def _make_room(self, size: int) -> None:
        self._out = bytearray(size)
        self._writing.out, self._writing.room = address_of(self._out), size
