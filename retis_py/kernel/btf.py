"""The kernel's own type information (BTF), read through libbpf.

What is asked of it: which arguments a function or a tracepoint has, where a struct's members lie,
and what an enum's values are called. Types of modules come from the modules' split BTF.

Sources: include/uapi/linux/btf.h, Documentation/bpf/btf.rst.
"""

import ctypes
import errno
import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from retis_py.errors import OUT_OF_MEMORY, MissingPrerequisite
from retis_py.kernel import libbpf

_VMLINUX = Path("/sys/kernel/btf/vmlinux")


class Kind(IntEnum):
    """``BTF_KIND_*``."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_MODIFIERS = frozenset((Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))
_COMPOSITES = (Kind.STRUCT, Kind.UNION)
_TYPE = struct.Struct("=III")  # name_off, info, size or type
_MEMBER = struct.Struct("=III")  # name_off, type, offset
_PARAM = struct.Struct("=II")  # name_off, type
_ENUM = struct.Struct("=Ii")  # name_off, val
_ENUM64 = struct.Struct("=III")  # name_off, val_lo32, val_hi32
_ARRAY = struct.Struct("=III")  # type, index_type, nelems


class Type(Struct, frozen=True):
    """One ``struct btf_type``; ``ref`` is its size in bytes or the type that it refers to."""

    kind: Kind
    name: str
    ref: int
    vlen: int
    bitfields: bool  # the kind flag: member offsets carry a bit-field size
    address: int  # of what follows it: members, parameters, values


class Member(Struct, frozen=True):
    """A struct member: where it lies in bits from the start, and its bit-field size or 0."""

    name: str
    type_id: int
    bit_offset: int
    bit_size: int


class Argument(Struct, frozen=True):
    """A function's argument; ``type`` as C writes it without qualifiers: ``struct sk_buff *``."""

    name: str
    type: str


class Btf:
    """Types of the kernel or of one module (which include the kernel's)."""

    def __init__(self, handle: int, base: "Btf | None" = None) -> None:
        self._lib = libbpf.library()
        self._handle = handle
        self._base = base  # keeps the kernel's types alive as long as the module's
        self._described: dict[int, str] = {}

    @classmethod
    def vmlinux(cls) -> "Btf":
        """Load the kernel's types (/sys/kernel/btf/vmlinux).

        Raises:
            MissingPrerequisite: the kernel has none.
        """
        handle = libbpf.library().btf__load_vmlinux_btf()
        if not handle:
            reason = errno.errorcode.get(ctypes.get_errno(), "unknown error")
            # libbpf does not say which: it looks in other places then.
            hint = "a kernel built with CONFIG_DEBUG_INFO_BTF is needed"
            if reason in ("ESRCH", "ENOMEM") and _VMLINUX.exists() and _VMLINUX.stat().st_size:
                hint = OUT_OF_MEMORY
            raise MissingPrerequisite(
                f"the kernel's type information (BTF) cannot be loaded ({reason}): {hint}"
            )
        return cls(handle)

    def module(self, name: str) -> "Btf | None":
        """Load the types of a module, None where it is not loaded or has none."""
        handle = self._lib.btf__load_module_btf(name.encode(), self._handle)
        return Btf(handle, self) if handle else None

    def find(self, name: str, kind: Kind) -> int | None:
        """Return the id of the type of that name and kind."""
        found = self._lib.btf__find_by_name_kind(self._handle, name.encode(), kind)
        return found if found >= 0 else None

    def type(self, type_id: int) -> Type:
        """Return the type of that id."""
        address = self._lib.btf__type_by_id(self._handle, type_id)
        name, info, ref = _TYPE.unpack(ctypes.string_at(address, _TYPE.size))
        return Type(
            kind=Kind((info >> 24) & 0x1F),
            name=self._text(name),
            ref=ref,
            vlen=info & 0xFFFF,
            bitfields=bool(info >> 31),
            address=address + _TYPE.size,
        )

    def strip(self, type_id: int) -> int:
        """Follow typedefs and qualifiers to the type they stand for (0 is void)."""
        while type_id and (found := self.type(type_id)).kind in _MODIFIERS:
            type_id = found.ref
        return type_id

    def size(self, type_id: int) -> int:
        """Return the size in bytes of a value of that type."""
        return int(self._lib.btf__resolve_size(self._handle, type_id))

    def array(self, array: Type) -> tuple[int, int]:
        """Return an array's element type and how many elements it has."""
        element, _, count = _ARRAY.unpack(ctypes.string_at(array.address, _ARRAY.size))
        return element, count

    def is_signed(self, integer: int) -> bool:
        """Whether an integer type is signed."""
        encoding = ctypes.c_uint32.from_address(self.type(integer).address).value
        return bool(encoding >> 24 & 1)  # BTF_INT_SIGNED

    # Functions

    def function(self, name: str) -> list[Argument] | None:
        """Return a function's arguments, None where BTF does not know it."""
        found = self.find(name, Kind.FUNC)
        return None if found is None else self._arguments(self.type(found).ref)

    @cached_property
    def functions(self) -> dict[str, int]:
        """All functions' type ids by name, for wildcards: one pass, about 0.1 s for a kernel."""
        by_id, handle = self._lib.btf__type_by_id, self._handle
        info_at = ctypes.c_uint32.from_address
        first = self._lib.btf__type_cnt(self._base._handle) if self._base else 1
        ids = (
            i
            for i in range(first, self._lib.btf__type_cnt(handle))
            if (info_at(by_id(handle, i) + 4).value >> 24) & 0x1F == Kind.FUNC
        )
        return {self._text(info_at(by_id(handle, i)).value): i for i in ids}

    def arguments_of(self, function_id: int) -> list[Argument]:
        """Return the arguments of the function with that type id."""
        # Asked for each of 60,000 functions: a Type for each would cost more than all else.
        at = self._lib.btf__type_by_id(self._handle, function_id)
        return self._arguments(ctypes.c_uint32.from_address(at + 8).value)

    def tracepoint(self, name: str) -> list[Argument] | None:
        """Return a raw tracepoint's arguments, from the typedef ``btf_trace_NAME``."""
        found = self.find(f"btf_trace_{name}", Kind.TYPEDEF)
        if found is None:
            return None
        pointer = self.type(self.strip(found))
        # The first argument is the registering program's own data.
        return self._arguments(self.strip(pointer.ref))[1:]

    def _arguments(self, prototype: int) -> list[Argument]:
        at = self._lib.btf__type_by_id(self._handle, prototype)
        count = ctypes.c_uint32.from_address(at + 4).value & 0xFFFF
        data = ctypes.string_at(at + _TYPE.size, count * _PARAM.size)
        return [
            Argument(self._text(name), self.describe(type_id))
            for name, type_id in _PARAM.iter_unpack(data)
        ]

    def describe(self, type_id: int) -> str:
        """Write a type as C does, without qualifiers and typedefs: ``struct net_device *``."""
        text = self._described.get(type_id)
        if text is None:
            text = self._described[type_id] = self._describe(type_id)
        return text

    def _describe(self, type_id: int) -> str:  # noqa: PLR0911 (one for each kind)
        found = self.strip(type_id)
        if not found:
            return "void"
        t = self.type(found)
        match t.kind:
            case Kind.PTR:
                return f"{self.describe(t.ref)} *".replace("* *", "**")
            case Kind.STRUCT | Kind.UNION | Kind.FWD:
                # Of a forward declaration the kind flag says that it is a union's.
                union = t.kind is Kind.UNION or (t.kind is Kind.FWD and t.bitfields)
                return f"{'union' if union else 'struct'} {t.name or '<anonymous>'}"
            case Kind.ENUM | Kind.ENUM64:
                return f"enum {t.name or '<anonymous>'}"
            case Kind.ARRAY:
                element, count = self.array(t)
                return f"{self.describe(element)}[{count}]"
            case Kind.FUNC_PROTO:
                return "function"
            case _:
                return t.name

    # Structs and enums

    def members(self, type_id: int) -> Iterator[Member]:
        """Yield a struct's or union's own members, those of anonymous ones inside it included."""
        composite = self.type(type_id)
        data = ctypes.string_at(composite.address, composite.vlen * _MEMBER.size)
        for name_offset, member_type, offset in _MEMBER.iter_unpack(data):
            bits = offset >> 24 if composite.bitfields else 0
            where = offset & 0xFFFFFF if composite.bitfields else offset
            name = self._text(name_offset)
            if name:
                yield Member(name, member_type, where, bits)
                continue
            inner = self.strip(member_type)
            if self.type(inner).kind in _COMPOSITES:
                for m in self.members(inner):
                    yield Member(m.name, m.type_id, m.bit_offset + where, m.bit_size)

    def struct(self, name: str) -> dict[str, Member] | None:
        """Return the members of ``struct name`` (or of the typedef or union of that name)."""
        for kind in (Kind.STRUCT, Kind.UNION, Kind.TYPEDEF):
            found = self.find(name, kind)
            if found is not None:
                return {m.name: m for m in self.members(self.strip(found))}
        return None

    def enum(self, name: str) -> dict[str, int] | None:
        """Return an enum's names and values, None where there is no such enum."""
        for kind in (Kind.ENUM, Kind.ENUM64):
            found = self.find(name, kind)
            if found is not None:
                return dict(self._enumerators(self.type(found)))
        return None

    def _enumerators(self, enum: Type) -> Iterator[tuple[str, int]]:
        if enum.kind is Kind.ENUM:
            data = ctypes.string_at(enum.address, enum.vlen * _ENUM.size)
            for name, value in _ENUM.iter_unpack(data):
                # The kind flag says that an enum is signed.
                yield self._text(name), value if enum.bitfields else value & 0xFFFFFFFF
            return
        data = ctypes.string_at(enum.address, enum.vlen * _ENUM64.size)
        for name, low, high in _ENUM64.iter_unpack(data):
            value = high << 32 | low
            signed = enum.bitfields and value >> 63
            yield self._text(name), value - (1 << 64) if signed else value

    def _text(self, offset: int) -> str:
        name: bytes | None = self._lib.btf__name_by_offset(self._handle, offset)
        return name.decode() if name else ""
