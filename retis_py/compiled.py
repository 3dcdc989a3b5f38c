"""The compiled part: what is done with each line of an event file, and is slow in Python.

It may lack (no compiler, another platform); then Python does the same, only slower. With
RETIS_PURE_PYTHON=1 in the environment it does so in any case. The sources are in retis_py/native/.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_LIBRARY = Path(__file__).with_name("_compiled.so")
_SWITCH = "RETIS_PURE_PYTHON"
_INTERFACE = 2  # that of the library has to be the same, see retis_py/native/lines.h

Pointer = ctypes.c_void_p
_SIZE, _LONG, _U64, _INT = ctypes.c_size_t, ctypes.c_long, ctypes.c_uint64, ctypes.c_int
_BOOL, _BYTES = ctypes.c_bool, ctypes.c_char_p

_SHORTEST = 27  # bytes of a line that can be an event, with its newline
_SMALL_PIECE = 8 << 20

# Of what is remembered; beyond these all is forgotten, between pieces.
_MOST_TEXTS = 8192
_MOST_BYTES = 32 << 20


class Text(ctypes.Structure):
    """Bytes that lie somewhere: ``struct text``."""

    _fields_ = (("at", ctypes.c_char_p), ("size", ctypes.c_size_t))

    @classmethod
    def of(cls, text: bytes) -> "Text":
        """Point to ``text``, which must be kept meanwhile."""
        return cls(text, len(text))


FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "interface": (_INT, ()),
    "memo_new": (Pointer, (_U64,)),
    "memo_free": (None, (Pointer,)),
    "memo_clear": (None, (Pointer,)),
    "memo_count": (_LONG, (Pointer,)),
    "memo_text": (Pointer, (Pointer, _LONG, Pointer)),
    "memo_refuse": (None, (Pointer, _LONG)),
    "memo_size": (_SIZE, (Pointer,)),
    "memo_word": (_BOOL, (Pointer, _LONG, _BYTES, _SIZE, _BYTES, _SIZE)),
    "words_read": (_LONG, (Pointer,)),
    "words_packets": (_LONG, (Pointer, _LONG, Pointer)),
    "words_room": (_SIZE, (Pointer,)),
    "words_write": (_SIZE, (Pointer,)),
    "count_piece": (_LONG, (Pointer,)),
    "count_packets": (_SIZE, (Pointer, Pointer, _SIZE, Pointer)),
    "index_piece": (_LONG, (Pointer,)),
    "rows_sort": (_BOOL, (Pointer, _SIZE, _SIZE)),
    "rows_move": (None, (Pointer, _SIZE, _SIZE, _SIZE, _U64)),
    "rows_merge": (_SIZE, (Pointer, _SIZE, Pointer, _SIZE, _SIZE)),
    "rows_group": (None, (Pointer, _SIZE, Pointer)),
    "rows_rename": (None, (Pointer, _SIZE, Pointer, _SIZE)),
    "rows_settle": (_SIZE, (Pointer, _SIZE)),
    "rows_whole": (_SIZE, (Pointer, _SIZE)),
    "series_write": (_INT, (Pointer,)),
    "map_new": (Pointer, (_INT, _SIZE)),
    "map_forget": (None, (Pointer, _SIZE)),
    "map_free": (None, (Pointer, _SIZE)),
}


def load(path: Path = _LIBRARY) -> tuple[Any, str]:
    """Return the library, None where Python is to do its work; and why."""
    if os.environ.get(_SWITCH):
        return None, f"is switched off by {_SWITCH}"
    try:
        loaded = ctypes.CDLL(str(path), use_errno=True)
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except OSError:
        return None, "was not built"
    except AttributeError:
        return None, "is of another version"
    return (loaded, "") if loaded.interface() == _INTERFACE else (None, "is of another version")


library: Any
"""Its functions, as retis_py/native/*.h declare them; None where there are none."""
WHY_NOT: str
"""Why there are none: what the compiled part is."""

library, WHY_NOT = load()


def most_lines(piece: bytes) -> int:
    """Return how many lines of events a piece can have at most, to make room for them."""
    if len(piece) <= _SMALL_PIECE:
        return len(piece) // _SHORTEST + 1
    return piece.count(b"\n") + 1  # which takes long, and saves memory where a line is endless


def address_of(buffer: bytearray) -> int:
    """Return where the bytes lie. They must not be resized while the address is in use."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0


class Memo:
    """Texts that come up again, numbered by C; see retis_py/native/memo.c."""

    def __init__(self) -> None:
        self.pointer = Pointer(library.memo_new(int.from_bytes(os.urandom(8))))
        if not self.pointer:
            raise MemoryError
        self.known = 0  # of them, so many were handed out by new()

    def __del__(self) -> None:
        if library is not None and (pointer := getattr(self, "pointer", None)):
            library.memo_free(pointer)

    def new(self, easy: Callable[[int], int] | None = None) -> Iterator[tuple[int, bytes]]:
        """Iterate over the texts that came up since the last time: number, text.

        ``easy`` does those from a number on that it can, and returns the next one's; these are
        left out.
        """
        count = library.memo_count(self.pointer)
        if self.known == count:
            return
        size = ctypes.c_size_t()
        place = ctypes.byref(size)
        number = self.known
        while number < count and (easy is None or (number := easy(number)) < count):
            text = library.memo_text(self.pointer, number, place)
            yield number, ctypes.string_at(text, size.value)
            number += 1
        self.known = count

    def refuse(self, number: int) -> None:
        """Let every piece that a text is in be Python's."""
        library.memo_refuse(self.pointer, number)

    def word(self, number: int, first: bytes, second: bytes) -> None:
        """Keep what a text is worded as, in two parts."""
        sizes = len(first), len(second)
        if not library.memo_word(self.pointer, number, first, sizes[0], second, sizes[1]):
            raise MemoryError

    def trim(self) -> bool:
        """Forget all where it has become much; return whether it was."""
        if self.known <= _MOST_TEXTS and library.memo_size(self.pointer) <= _MOST_BYTES:
            return False
        library.memo_clear(self.pointer)
        self.known = 0
        return True


class FileMap:
    """A file in memory, read-only. Raises OSError."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self.address: int | None = None
        if size:
            self.address = library.map_new(descriptor, size)
            if self.address is None:
                raise OSError(ctypes.get_errno(), "cannot map it into memory")

    def forget(self) -> None:
        """Give its memory back, until it is looked at again."""
        if self.address is not None:
            library.map_forget(self.address, self.size)

    def close(self) -> None:
        """Unmap it; may be called again."""
        if self.address is not None:
            library.map_free(self.address, self.size)
        self.address = None
