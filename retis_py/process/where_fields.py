"""Fields of events that ``--where`` can name, read off the types of ``Event``.

A new section or field can be named as soon as it is declared there. Names are those of the file;
beside stored fields there is ``tracking_id``, wherever an ``skb-tracking`` is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from msgspec import inspect

from retis_py.events.event import Event
from retis_py.events.sections.ovs_detrace import Ufid
from retis_py.events.sections.skb_tracking import SkbTracking
from retis_py.expressions import Name, nearest, quoted
from retis_py.process.where_grammar import error_at

_U64_MAX = (1 << 64) - 1
_TRACKING_ID_MAX = (1 << 128) - 1


class Kind(StrEnum):
    """What a field holds, as messages call it."""

    NUMBER = "a number"
    TRACKING_ID = "a tracking id"
    STRING = "a string"
    STRINGS = "a list of strings"
    FLOW_ID = "a flow id"
    BOOLEAN = "true or false"
    BYTES = "bytes"
    TABLES = "made of tables"
    GROUP = "a group of fields"


PRESENCE_ONLY = frozenset({Kind.BYTES, Kind.TABLES})
"""Kinds of fields that can be there or not, and that is all."""


@dataclass(frozen=True, slots=True)
class Access:
    """A step from an object to what is in it.

    ``template`` is Python with ``{0}`` for the object, a name or an attribute of one; ``optional``
    says whether it may give None. Of a union, only the structs ``owners`` have it, others None.
    """

    template: str
    optional: bool
    owners: frozenset[type] = frozenset()


@dataclass(frozen=True, slots=True)
class Field:
    """A field or group of fields: how to reach it from ``event``, and what it can be.

    ``low`` and ``high`` are a number's bounds, ``choices`` the only values of a string.
    """

    path: str
    accesses: tuple[Access, ...]
    kind: Kind
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    inside: "dict[str, Field]" = field(default_factory=dict)


@cache
def root() -> Field:
    """Return the group of all sections."""
    event = inspect.type_info(Event)
    assert isinstance(event, inspect.StructType)  # noqa: S101 (Event is one)
    return Field("", (), Kind.GROUP, inside=_members("", (), [event]))


def find(names: Sequence[Name]) -> Field:
    """Find a field or group. Hyphens and underscores are the same.

    Raises:
        UsageError: events have no such field.
    """
    at = root()
    for name in names:
        known = {_plain(n): inner for n, inner in at.inside.items()}
        found = known.get(_plain(name.text))
        if found is None:
            raise _unknown(at, name)
        at = found
    return at


def comparable(at: Field | None = None) -> Iterator[Field]:
    """Iterate over all fields that can be compared, groups left out."""
    for inner in (at or root()).inside.values():
        if inner.kind is Kind.GROUP:
            yield from comparable(inner)
        elif inner.kind not in PRESENCE_ONLY:
            yield inner


def section_of(found: Field) -> str:
    """Return the attribute of Event that a field is in."""
    return _plain(found.path.split(".")[0])


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _unknown(at: Field, name: Name) -> Exception:
    hint = nearest(name.text, at.inside)
    there = ", ".join(at.inside)
    if not at.path:
        return error_at(
            name.column,
            f"events have no section {quoted(name.text)}{hint or ':'} there are {there}",
        )
    if not at.inside:
        return error_at(name.column, f"'{at.path}' is {at.kind} and has no fields")
    return error_at(
        name.column, f"'{at.path}' has no field {quoted(name.text)}{hint or ':'} it has {there}"
    )


def _members(
    path: str, accesses: tuple[Access, ...], structs: Sequence[inspect.StructType]
) -> dict[str, Field]:
    """List the fields of a struct, or of all structs of a union."""
    union = len(structs) > 1
    found: dict[str, Field] = {}
    if structs[0].tag_field is not None:
        step = Access("type({0}).__struct_config__.tag", optional=False)
        tags = tuple(str(struct.tag) for struct in structs)
        name = structs[0].tag_field
        found[name] = Field(_join(path, name), (*accesses, step), Kind.STRING, choices=tags)
    for struct in structs:
        for member in struct.fields:
            types, optional = _alternatives(member.type)
            name = member.encode_name
            owners = frozenset(s.cls for s in structs if name in {f.encode_name for f in s.fields})
            step = Access(
                f"{{0}}.{member.name}",
                optional or union,
                owners if union else frozenset(),
            )
            made = _field(_join(path, name), (*accesses, step), types)
            before = found.setdefault(name, made)
            # A name stands for one kind of value, whatever struct of the union it is in.
            assert (before.kind, before.low, before.high, before.choices) == (  # noqa: S101
                made.kind,
                made.low,
                made.high,
                made.choices,
            ), made.path
    if structs[0].cls is SkbTracking:
        step = Access("({0}.timestamp << 64) + {0}.orig_head", optional=False)
        found["tracking_id"] = Field(
            _join(path, "tracking_id"),
            (*accesses, step),
            Kind.TRACKING_ID,
            high=_TRACKING_ID_MAX,
        )
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _alternatives(type_: inspect.Type) -> tuple[list[inspect.Type], bool]:
    """Split a union: its types, and whether None is one of them."""
    types = list(type_.types) if isinstance(type_, inspect.UnionType) else [type_]
    given = [t for t in types if not isinstance(t, inspect.NoneType)]
    return given, len(given) < len(types)


def _is_list_of_structs(type_: inspect.Type) -> bool:
    return isinstance(type_, inspect.ListType) and isinstance(type_.item_type, inspect.StructType)


def _field(path: str, accesses: tuple[Access, ...], types: list[inspect.Type]) -> Field:
    structs = [t for t in types if isinstance(t, inspect.StructType)]
    if structs:
        if any(_is_list_of_structs(member.type) for s in structs for member in s.fields):
            return Field(path, accesses, Kind.TABLES)
        return Field(path, accesses, Kind.GROUP, inside=_members(path, accesses, structs))
    (type_,) = types
    match type_:
        case inspect.IntType():
            high = _U64_MAX if type_.le is None else type_.le
            made = Field(path, accesses, Kind.NUMBER, low=type_.ge or 0, high=high)
        case inspect.StrType():
            made = Field(path, accesses, Kind.STRING)
        case inspect.EnumType():
            values = tuple(member.value for member in type_.cls)
            made = Field(path, accesses, Kind.STRING, choices=values)
        case inspect.LiteralType():
            made = Field(path, accesses, Kind.STRING, choices=tuple(map(str, type_.values)))
        case inspect.BoolType():
            made = Field(path, accesses, Kind.BOOLEAN)
        case inspect.ListType(item_type=inspect.StrType()):
            made = Field(path, accesses, Kind.STRINGS)
        case inspect.BytesType():
            made = Field(path, accesses, Kind.BYTES)
        case _ if type_ == inspect.type_info(Ufid):
            step = Access("ufid_text({0})", optional=False)
            made = Field(path, (*accesses, step), Kind.FLOW_ID)
        case _:
            raise NotImplementedError(f"--where knows nothing of the type of {path}: {type_}")
    return made
