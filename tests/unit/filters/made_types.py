"""Types of our own making, behind the kernel's as a module's are: what few kernels have.

Signed bit-fields, bit-fields over many bytes, enums of all kinds, strings of odd sizes, and members
that cannot be followed or compared.
"""

import ctypes
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

from retis_py.kernel import libbpf
from retis_py.kernel.btf import Btf

STRUCT = "made_values"
STRUCT_SIZE = 512
VIA = f"sk_buff._nfct:~0x7:{STRUCT}"

_SIGNED, _BOOL = 1, 4  # BTF_INT_SIGNED, BTF_INT_BOOL
_PROTOTYPES = {
    "btf__new_empty_split": (c_void_p,),
    "btf__add_int": (c_void_p, c_char_p, c_size_t, c_int),
    "btf__add_float": (c_void_p, c_char_p, c_size_t),
    "btf__add_ptr": (c_void_p, c_int),
    "btf__add_array": (c_void_p, c_int, c_int, c_uint32),
    "btf__add_struct": (c_void_p, c_char_p, c_uint32),
    "btf__add_union": (c_void_p, c_char_p, c_uint32),
    "btf__add_typedef": (c_void_p, c_char_p, c_int),
    "btf__add_field": (c_void_p, c_char_p, c_int, c_uint32, c_uint32),
    "btf__add_enum": (c_void_p, c_char_p, c_uint32),
    "btf__add_enum_value": (c_void_p, c_char_p, c_int64),
    "btf__add_enum64": (c_void_p, c_char_p, c_uint32, ctypes.c_bool),
    "btf__add_enum64_value": (c_void_p, c_char_p, c_int64),
    "btf__add_fwd": (c_void_p, c_char_p, c_int),
}


def made_types(vmlinux: Btf) -> list[Btf]:
    """Return the kernel's types, then others behind them: ``struct made_values``, ``made_in_b``.

    ``made_values`` points to ``made_in_b``, which it only declares, as types of the kernel do with
    types of modules.
    """
    first, second = _Maker(vmlinux), _Maker(vmlinux)
    _make_values(first)
    u32 = second.add("int", b"made u32", 4, 0)
    second.add("struct", b"made_in_b", 16)
    second.add("field", b"number", u32, 64, 0)
    return [vmlinux, first.btf, second.btf]


class _Maker:
    def __init__(self, base: Btf) -> None:
        self._lib = libbpf.library()
        self._handle = self._call("btf__new_empty_split", base._handle)
        self.btf = Btf(self._handle, base)

    def add(self, what: str, *arguments: Any) -> int:
        added: int = self._call(f"btf__add_{what}", self._handle, *arguments)
        assert added >= 0, f"btf__add_{what}{arguments}: {added}"
        return added

    def _call(self, name: str, *arguments: Any) -> Any:
        function = self._lib[name]  # one of our own: others' prototypes stay as they are
        function.argtypes = _PROTOTYPES[name]
        function.restype = c_void_p if name == "btf__new_empty_split" else c_int
        return function(*arguments)


def _make_values(m: _Maker) -> None:
    char = m.add("int", b"char", 1, _SIGNED)
    signed = [m.add("int", f"made s{8 * n}".encode(), n, _SIGNED) for n in (1, 2, 4, 8)]
    unsigned = [m.add("int", f"made u{8 * n}".encode(), n, 0) for n in (1, 2, 4, 8)]
    boolean = m.add("int", b"_Bool", 1, _BOOL)
    wide, real = m.add("int", b"__int128", 16, _SIGNED), m.add("float", b"double", 8)
    enums = _make_enums(m)
    texts = [m.add("array", unsigned[2], char, n) for n in (0, 1, 5, 7, 8, 9, 16, 63, 64, 100)]
    bytes8 = m.add("array", unsigned[2], unsigned[0], 8)
    char_pointer, void_pointer = m.add("ptr", char), m.add("ptr", 0)
    outside = m.add("ptr", m.add("fwd", b"made_in_b", 0))
    nowhere = m.add("ptr", m.add("fwd", b"made_nowhere", 0))
    inner = m.add("union", b"", 8)
    m.add("field", b"either", signed[2], 0, 0)
    m.add("field", b"or", unsigned[3], 0, 0)
    pointer_pointer = m.add("ptr", m.add("ptr", inner))
    m.add("struct", STRUCT.encode(), STRUCT_SIZE)
    at = 0

    def field(name: str, type_id: int, bits: int, width: int = 0) -> None:
        nonlocal at
        if not width:
            at = -(-at // 8) * 8
        m.add("field", name.encode(), type_id, at, width)
        at += bits

    field("outside", outside, 64)
    field("nowhere", nowhere, 64)
    field("", inner, 64)
    field("void_pointer", void_pointer, 64)
    field("pointer_pointer", pointer_pointer, 64)
    field("char_pointer", char_pointer, 64)
    for n, (s, u) in enumerate(zip(signed, unsigned, strict=True)):
        field(f"s{8 << n}", s, 8 << n)
        field(f"u{8 << n}", u, 8 << n)
    for width in (1, 2, 3, 7, 8, 9, 13, 31, 32, 33, 50, 57):
        field(f"sb{width}", signed[3], width, width)
        field(f"ub{width}", unsigned[3], width, width)
    at = -(-at // 8) * 8 + 7
    field("over_nine_bytes", unsigned[3], 60, 60)
    field("boolean", boolean, 8)
    for n, (enum, size) in enumerate(enums):
        field(f"enum{n}", enum, 8 * size)
    field("enum_bits", enums[0][0], 3, 3)
    field("wide", wide, 128)
    field("real", real, 64)
    field("bytes8", bytes8, 64)
    for size, text in zip((1, 5, 7, 8, 9, 16, 63, 64, 100), texts[1:], strict=True):
        field(f"text{size}", text, 8 * size)
    field("text_flexible", texts[0], 0)
    assert at < 8 * STRUCT_SIZE


def _make_enums(m: _Maker) -> list[tuple[int, int]]:
    """Unsigned, signed, 8 bytes wide, unnamed: type ids and sizes."""
    unsigned = m.add("enum", b"made_unsigned", 4)
    m.add("enum_value", b"MADE_ZERO", 0)
    m.add("enum_value", b"MADE_FIVE", 5)
    m.add("enum_value", b"MADE_LARGE", 0x7FFFFFFF)
    signed = m.add("enum", b"made_signed", 4)
    m.add("enum_value", b"MADE_MINUS", -2)
    m.add("enum_value", b"MADE_PLUS", 2)
    wide = m.add("enum64", b"made_wide", 8, True)
    m.add("enum64_value", b"MADE_LOWEST", -(1 << 63))
    m.add("enum64_value", b"MADE_HIGHEST", (1 << 63) - 1)
    unnamed = m.add("enum", b"", 4)
    m.add("enum_value", b"MADE_UNNAMED", 1)
    return [(unsigned, 4), (signed, 4), (wide, 8), (unnamed, 4)]
