"""Where in the kernel's memory a metadata expression's members lie, from BTF."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retis_py.errors import UsageError
from retis_py.expressions import Name, nearest, quoted
from retis_py.filters.meta_grammar import (
    ALL_BITS,
    Step,
    Term,
    error_at,
)
from retis_py.kernel.btf import Btf, Kind, Member, Type

_POINTER_SIZE = 8  # bytes; only 64-bit kernels are supported
_COMPOSITES = (Kind.STRUCT, Kind.UNION)
_ENUMS = (Kind.ENUM, Kind.ENUM64)
_CAST_HINT = "say what it points to with a mask and a struct, as in ':~0x0:STRUCT'"


@dataclass(frozen=True, slots=True)
class Hop:
    """A pointer to follow: ``offset`` in bytes; the address is what it holds in ``mask``'s bits."""

    offset: int
    mask: int


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer, enum, bool or pointer: ``bits`` wide and ``shift`` bits up in ``size`` bytes.

    ``names`` are an enum's values by name.
    """

    size: int
    shift: int
    bits: int
    signed: bool
    boolean: bool
    names: dict[str, int] | None


ADDRESS = Integer(_POINTER_SIZE, 0, 64, signed=False, boolean=False, names=None)
"""A pointer as a number."""


@dataclass(frozen=True, slots=True)
class CharArray:
    """A string in place, of at most so many bytes; a flexible array has no ``capacity``."""

    capacity: int | None


@dataclass(frozen=True, slots=True)
class CharPointer:
    """A string somewhere else; as a number it is an address."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a term's value lies: behind its hops, ``offset`` bytes on.

    ``name`` and ``type_name`` are for messages.
    """

    hops: tuple[Hop, ...]
    offset: int
    kind: Integer | CharArray | CharPointer
    name: str
    type_name: str


def locate(term: Term, btfs: Sequence[Btf]) -> Place:
    """Find what a term compares. Of several BTFs the first that knows a type counts.

    Raises:
        UsageError: this kernel has no such member, or it cannot be followed or compared.
    """
    struct = _find_struct(Name("sk_buff", term.column), btfs)
    hops: list[Hop] = []
    offset = 0
    for step in term.steps[:-1]:
        member = struct.member(step.name)
        offset += member.bit_offset // 8
        pointer = step.cast is not None or struct.is_pointer(member)
        struct = _follow(struct, member, step, btfs)
        if pointer:
            hops.append(Hop(offset, step.mask.value if step.mask else ALL_BITS))
            offset = 0
    last = term.steps[-1]
    member = struct.member(last.name)
    if last.cast is not None:
        raise error_at(
            last.cast.column,
            f"expected a member of {quoted(last.cast.text)} behind it, as in"
            f" ':{last.cast.text}.MEMBER'",
        )
    return Place(
        hops=tuple(hops),
        offset=offset + member.bit_offset // 8,
        kind=_kind_of(struct, member, last),
        name=last.name.text,
        type_name=struct.btf.describe(member.type_id),
    )


class _Struct:
    """A struct or union in the BTF that defines it."""

    def __init__(self, btf: Btf, type_id: int) -> None:
        self.btf = btf
        self._type_id = type_id
        self.members = {m.name: m for m in btf.members(type_id)}

    def member(self, name: Name) -> Member:
        found = self.members.get(name.text)
        if found is None:
            raise error_at(
                name.column,
                f"{self.btf.describe(self._type_id)} has no member {quoted(name.text)}"
                f" in this kernel{nearest(name.text, self.members)}",
            )
        return found

    def type(self, member: Member) -> Type | None:
        """Return the member's type without typedefs and qualifiers, None for void."""
        return _type(self.btf, member.type_id)

    def is_pointer(self, member: Member) -> bool:
        found = self.type(member)
        return found is not None and found.kind is Kind.PTR

    def holds_pointer(self, member: Member) -> bool:
        """Whether a member is a pointer or may be one in disguise."""
        found = self.type(member)
        scalar = found is not None and found.kind in (Kind.INT, Kind.PTR)
        return scalar and not member.bit_size and self.btf.size(member.type_id) == _POINTER_SIZE

    def describe(self, member: Member) -> str:
        """Describe a member's type with its article: ``an unsigned char of 1 bit``."""
        text = article(self.btf.describe(member.type_id))
        plural = "s" * (member.bit_size != 1)
        return f"{text} of {member.bit_size} bit{plural}" if member.bit_size else text


def article(type_name: str) -> str:
    """Put ``a`` or ``an`` before a type's name."""
    return f"{'an' if type_name[0] in 'aeiou' else 'a'} {type_name}"


def _type(btf: Btf, type_id: int) -> Type | None:
    stripped = btf.strip(type_id)
    return btf.type(stripped) if stripped else None


def _find_struct(name: Name, btfs: Iterable[Btf]) -> _Struct:
    for btf in btfs:
        for kind in (*_COMPOSITES, Kind.TYPEDEF):
            found = btf.find(name.text, kind)
            stripped = btf.strip(found) if found else 0
            if stripped and btf.type(stripped).kind in _COMPOSITES:
                return _Struct(btf, stripped)
    raise error_at(
        name.column,
        f"this kernel's types have no struct {quoted(name.text)}: check the name, and that the"
        " module that has it is loaded",
    )


def _follow(struct: _Struct, member: Member, step: Step, btfs: Sequence[Btf]) -> _Struct:
    if step.cast is not None:
        if not struct.holds_pointer(member):
            raise _cannot_follow(struct, member, step, "which cannot hold a pointer")
        return _find_struct(step.cast, btfs)
    found = struct.type(member)
    if found is not None and found.kind in _COMPOSITES:
        if step.mask is not None:
            raise error_at(
                step.mask.column,
                f"{quoted(step.name.text)} is {struct.describe(member)}: only"
                " numbers and pointers can be masked",
            )
        return _Struct(struct.btf, struct.btf.strip(member.type_id))
    if found is None or found.kind is not Kind.PTR:
        raise _cannot_follow(struct, member, step, "no struct and no pointer to one")
    target = _type(struct.btf, found.ref)
    if target is not None and target.kind in _COMPOSITES:
        return _Struct(struct.btf, struct.btf.strip(found.ref))
    if target is not None and target.kind is Kind.FWD:
        # Declared here, defined in a module.
        return _find_struct(Name(target.name, step.name.column), btfs)
    raise _cannot_follow(struct, member, step, f"no pointer to a struct: {_CAST_HINT}")


def _cannot_follow(struct: _Struct, member: Member, step: Step, why: str) -> UsageError:
    return error_at(
        step.name.column,
        f"{quoted(step.name.text)} cannot be followed, it is {struct.describe(member)}, {why}",
    )


def _kind_of(struct: _Struct, member: Member, step: Step) -> Integer | CharArray | CharPointer:
    btf, found = struct.btf, struct.type(member)
    if found is not None:
        if found.kind in (Kind.INT, *_ENUMS) and btf.size(member.type_id) <= 8:
            integer = _integer(btf, member, found)
            if integer.size <= 8:
                return integer
        if found.kind is Kind.PTR:
            return CharPointer() if _is_char(btf, found.ref) else ADDRESS
        if found.kind is Kind.ARRAY:
            element, count = btf.array(found)
            if _is_char(btf, element):
                return CharArray(count or None)
        if found.kind in _COMPOSITES:
            inner = list(_Struct(btf, btf.strip(member.type_id)).members)
            shown = ", ".join(inner[:4]) + (", ..." if len(inner) > 4 else "")
            raise error_at(
                step.name.column,
                f"{quoted(step.name.text)} is {struct.describe(member)} and cannot be"
                f" compared: go on to one of its members ({shown})",
            )
    raise error_at(
        step.name.column,
        f"{quoted(step.name.text)} is {struct.describe(member)} and cannot be compared: only"
        " integers of up to 64 bits, pointers, and arrays of char can",
    )


def _integer(btf: Btf, member: Member, found: Type) -> Integer:
    shift = member.bit_offset % 8
    bits = member.bit_size or btf.size(member.type_id) * 8
    if found.kind in _ENUMS:
        signed = found.bitfields  # an enum's kind flag says that it is signed
        names = btf.enum(found.name) if found.name else {}
    else:
        signed, names = btf.is_signed(btf.strip(member.type_id)), None
    return Integer(
        # Of a bit-field the bytes that hold it, which need not be as many as its type's.
        size=(shift + bits + 7) // 8,
        shift=shift,
        bits=bits,
        signed=signed,
        boolean=found.name == "_Bool",
        names=names,
    )


def _is_char(btf: Btf, type_id: int) -> bool:
    found = _type(btf, type_id)
    return found is not None and found.kind is Kind.INT and found.name == "char"
