"""Our own programs in stack traces: named here, as the kernel forgets their names with them.

Events are decoded later than they happen, maybe when the programs are gone from /proc/kallsyms.
"""

import ctypes
import struct
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable

from retis_py.kernel import libbpf

Symbol = tuple[int, int, str]
"""Address, size in bytes, name."""

# struct bpf_prog_info (include/uapi/linux/bpf.h): tag, name, and at 104 how many addresses and
# sizes there is room for, and where.
_TAG, _NAME = slice(8, 16), slice(64, 80)
_ROOM = struct.Struct("=IIQQ")
_ROOM_AT = 104


def symbols_of(programs: Iterable[int]) -> list[Symbol]:
    """Return the symbols of loaded programs, given by descriptors, as /proc/kallsyms has them."""
    return [symbol for program in programs if (symbol := _symbol(program))]


def _symbol(program: int) -> Symbol | None:
    address, size = ctypes.c_uint64(), ctypes.c_uint32()
    info = ctypes.create_string_buffer(256)
    _ROOM.pack_into(info, _ROOM_AT, 1, 1, ctypes.addressof(address), ctypes.addressof(size))
    length = ctypes.c_uint32(len(info))
    library = libbpf.library()
    if library.bpf_obj_get_info_by_fd(program, info, ctypes.byref(length)) < 0:
        return None
    if not address.value:  # not compiled for this CPU, or hidden from us
        return None
    name = info.raw[_NAME].partition(b"\0")[0].decode(errors="replace")
    return address.value, size.value, f"bpf_prog_{info.raw[_TAG].hex()}_{name}"


class OwnSymbols:
    """Resolves addresses in our own programs, and has all others resolved by ``others``."""

    def __init__(self, others: Callable[[int], str]) -> None:
        self._others = others
        self._known: list[Symbol] = []

    def add(self, symbols: Iterable[Symbol]) -> None:
        """Know more of them."""
        for symbol in symbols:
            insort(self._known, symbol)

    def resolve(self, address: int) -> str:
        """Return ``symbol+0xoffset``, or the address where it is unknown."""
        at = bisect_right(self._known, address, key=lambda symbol: symbol[0]) - 1
        if at >= 0:
            start, size, name = self._known[at]
            if address < start + size:
                return f"{name}+{address - start:#x}"
        return self._others(address)
