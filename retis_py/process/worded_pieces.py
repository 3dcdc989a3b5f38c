"""Lines of an event file to text by the compiled part: what line_text.py does, without its loops.

C cuts lines into parts and numbers these; what is new is worded in Python; C puts the texts
together.
"""

import ctypes
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TypeAlias

from retis_py.compiled import Memo, Pointer, Text, address_of, library, most_lines
from retis_py.events.layout import AnotherLayoutError
from retis_py.events.lines import UNDECODABLE
from retis_py.events.text import ID_COLOUR, colours
from retis_py.process.work import Done

Wording: TypeAlias = Callable[[bytes], tuple[bytes, bytes]]
"""From a part to its text, and the text that comes behind what identifies the packet.

Raises AnotherLayoutError or the errors of UNDECODABLE where the part is none, or not alone.
"""


class Part(IntEnum):
    """Parts of a line, as retis_py/native/lines.h numbers them."""

    HEAD = 0
    IDS = 1
    DROP = 2
    PACKET = 3
    SKB = 4
    DEVICE = 5
    OTHERS = 6


class _Line(ctypes.Structure):
    _fields_ = (
        ("ids", ctypes.c_uint64 * 3),
        ("digits", Text),
        ("numbers", ctypes.c_int * len(Part)),
    )


class _Wording(ctypes.Structure):
    _fields_ = (
        ("piece", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
        ("memos", Pointer * len(Part)),
        ("ids_begin", Text),
        ("ids_end", Text),
        ("line_end", Text),
        ("most", ctypes.c_size_t),
        ("lines", Pointer),
        ("count", ctypes.c_size_t),
        ("out", Pointer),
    )


class WordedPieces:
    """Words pieces of an unsorted file in today's format. ``end`` follows each event.

    ``around_packets`` is what packets' texts begin and end with, where the usual ones are to be
    worded by C; else it is None.
    """

    def __init__(
        self,
        words: Mapping[Part, Wording],
        end: bytes,
        *,
        around_packets: tuple[bytes, bytes] | None,
        colour: bool,
    ) -> None:
        self._words = [words[part] for part in Part]
        self._memos = [Memo() for _ in Part]
        self._kept = (*colours(ID_COLOUR, enabled=colour), end)
        begin, finish, line_end = map(Text.of, self._kept)
        memos = (Pointer * len(Part))(*[memo.pointer.value for memo in self._memos])
        self._wording = _Wording(
            memos=memos, ids_begin=begin, ids_end=finish, line_end=line_end, most=0
        )
        self._around_packets = around_packets
        self._lines = (_Line * 0)()
        self._out = bytearray()

    def __call__(self, piece: bytes) -> Done | None:
        """Word all lines of ``piece``. None where that has to be done in Python."""
        wording = self._wording
        self._make_room(most_lines(piece))
        wording.piece, wording.size = piece, len(piece)
        lines = library.words_read(ctypes.byref(wording))
        if not self._word_new() or lines < 0:
            return None
        room = library.words_room(ctypes.byref(wording))
        if room > len(self._out):
            self._out = bytearray(room)
            wording.out = address_of(self._out)
        size = library.words_write(ctypes.byref(wording))
        with memoryview(self._out) as out:
            return Done(bytes(out[:size]), lines)

    def _word_new(self) -> bool:
        """Word the parts that came up; return whether all are parts of events."""
        sound = True
        for each, memo, word in zip(Part, self._memos, self._words, strict=True):
            by_c = self._word_packets if each == Part.PACKET and self._around_packets else None
            for number, part in memo.new(by_c):
                try:
                    memo.word(number, *word(part))
                except (*UNDECODABLE, AnotherLayoutError):
                    memo.refuse(number)
                    sound = False
        return sound

    def _word_packets(self, number: int) -> int:
        around = (Text * 2)(*map(Text.of, self._around_packets or ()))
        memo = self._memos[Part.PACKET].pointer
        following: int = library.words_packets(memo, number, around)
        return following

    def _make_room(self, lines: int) -> None:
        for memo in self._memos:
            memo.trim()
        if self._wording.most < lines:
            self._lines = (_Line * lines)()
            self._wording.lines = ctypes.addressof(self._lines)
            self._wording.most = lines
