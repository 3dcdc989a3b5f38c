"""First pass of a sort by the compiled part: the same as sort_index.py, as rows of numbers."""

import ctypes
from array import array
from collections.abc import Iterable
from typing import NamedTuple

from retis_py.compiled import Memo, Pointer, library, most_lines
from retis_py.events.layout import AnotherLayoutError, check_head
from retis_py.events.lines import UNDECODABLE
from retis_py.process.fact_rows import FACT, fact_row
from retis_py.process.facts import unpack_fact
from retis_py.process.sort_index import Flow, Index, IndexLines
from retis_py.process.work import Done

ROW = 5
"""Numbers of a place, see retis_py/native/rows.h; all of 64 bits."""
ALONE = 1 << 63
"""In the extent of an event that belongs to no packet."""


class RowIndex(NamedTuple):
    """What is known of a piece's lines: bytes of arrays, offsets from the begin of the piece."""

    rows: bytes  # id of the packet (time, address), time, offset, extent
    alone: bytes  # of events that belong to no packet: time, offset, time, offset, extent
    facts: bytes  # see fact_rows.py
    flows: dict[Flow, tuple[int, int]]


class _Look(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("ids", ctypes.c_uint64), ("size", ctypes.c_uint64))


class _Index(ctypes.Structure):
    _fields_ = (
        ("piece", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
        ("heads", Pointer),
        ("most", ctypes.c_size_t),
        ("rows", Pointer),
        ("facts", Pointer),
        ("looks", ctypes.POINTER(_Look)),
        ("row_count", ctypes.c_size_t),
        ("fact_count", ctypes.c_size_t),
        ("look_count", ctypes.c_size_t),
    )


class IndexRows:
    """Job for ``work_through``: a ``RowIndex`` of each piece, as ``IndexLines`` does it."""

    def __init__(self, *, keep_going: bool = False) -> None:
        self._keep_going = keep_going
        self._python = IndexLines(keep_going=keep_going)
        self._memo = Memo()
        self._index = _Index(heads=self._memo.pointer)

    def another(self) -> "IndexRows":
        """Return the same job, for another thread."""
        return IndexRows(keep_going=self._keep_going)

    def __call__(self, piece: bytes) -> Done:
        """Look at all lines."""
        index = self._index
        self._make_room(most_lines(piece))
        index.piece, index.size = piece, len(piece)
        lines = library.index_piece(ctypes.byref(index))
        if not self._heads_are_sound() or lines < 0:
            return self._by_python(piece)
        looked = Index({}, array("Q"), [], {})
        try:
            for look in index.looks[: index.look_count]:
                line = piece[look.offset : look.offset + look.size]
                self._python.look_at(line, look.offset, look.ids, looked)
        except UNDECODABLE:
            return self._by_python(piece)
        rows = ctypes.string_at(index.rows, index.row_count * ROW * 8)
        facts = ctypes.string_at(index.facts, index.fact_count * FACT * 8)
        others = as_rows(looked)
        return Done(
            RowIndex(rows + others.rows, others.alone, facts + others.facts, others.flows), lines
        )

    def _by_python(self, piece: bytes) -> Done:
        done = self._python(piece)
        return done._replace(result=as_rows(done.result))

    def _heads_are_sound(self) -> bool:
        """Judge what is new before the packets' ids."""
        sound = True
        for number, head in self._memo.new():
            try:
                check_head(head)
            except (AnotherLayoutError, *UNDECODABLE):
                self._memo.refuse(number)
                sound = False
        return sound

    def _make_room(self, lines: int) -> None:
        self._memo.trim()
        if self._index.most < lines:
            self._rows = (ctypes.c_uint64 * (lines * ROW))()
            self._facts = (ctypes.c_uint64 * (lines * FACT))()
            self._looks = (_Look * lines)()
            self._index.rows = ctypes.addressof(self._rows)
            self._index.facts = ctypes.addressof(self._facts)
            self._index.looks = ctypes.cast(self._looks, ctypes.POINTER(_Look))
            self._index.most = lines


def as_rows(index: Index) -> RowIndex:
    """Bring what Python found into the same form."""
    rows = array("Q")
    for key, places in index.packets.items():
        for time, offset, extent in _threes(places):
            rows.extend((*key, time, offset, extent))
    alone = array("Q")
    for time, offset, extent in _threes(index.alone):
        alone.extend((time, offset, time, offset, extent | ALONE))
    facts = b"".join([fact_row(unpack_fact(record)) for record in index.facts])
    return RowIndex(rows.tobytes(), alone.tobytes(), facts, index.flows)


def _threes(places: "array[int]") -> Iterable[tuple[int, int, int]]:
    numbers = iter(places)
    return zip(numbers, numbers, numbers)  # noqa: B905
