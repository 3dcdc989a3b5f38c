"""Whether a metadata expression's value fits what it is compared with, and what is compared."""

from dataclasses import dataclass

from retis_py.errors import UsageError
from retis_py.expressions import Name, nearest, quoted
from retis_py.filters.meta_grammar import (
    Number,
    Operator,
    String,
    Term,
    error_at,
)
from retis_py.filters.meta_types import ADDRESS, CharArray, CharPointer, Integer, Place, article

MAX_TEXT = 64  # bytes read of a string, on a stack of 512


@dataclass(frozen=True, slots=True)
class NumberTest:
    """Compare an integer; with a mask it is unsigned whatever its type."""

    integer: Integer
    mask: int | None
    operator: Operator
    value: int


@dataclass(frozen=True, slots=True)
class TextTest:
    """Compare a string: ``size`` bytes are read, so many that a longer one differs.

    ``pointer`` tells that the place holds its address.
    """

    pointer: bool
    size: int
    equal: bool
    value: bytes


def check_value(term: Term, place: Place) -> NumberTest | TextTest:
    """Return what a term compares at its place.

    Raises:
        UsageError: that value cannot be compared with what is there.
    """
    kind, value = place.kind, term.value
    if isinstance(value, String):
        if isinstance(kind, Integer):
            raise error_at(
                value.column,
                f"{quoted(place.name)} is {article(place.type_name)}: expected a number",
            )
        return _text_test(term, value, kind, place)
    if isinstance(kind, CharArray):
        raise error_at(
            value.column if value else term.steps[-1].name.column,
            f"{quoted(place.name)} is {article(place.type_name)}: expected '==' or '!=' and a"
            " string in quotes",
        )
    integer = ADDRESS if isinstance(kind, CharPointer) else kind
    return _number_test(term, value, integer, place)


def _text_test(term: Term, value: String, kind: CharArray | CharPointer, place: Place) -> TextTest:
    mask = term.steps[-1].mask
    if mask is not None:
        raise error_at(mask.column, "a string cannot be masked: leave the mask out")
    length = len(value.value)
    pointer = isinstance(kind, CharPointer)
    capacity = kind.capacity if isinstance(kind, CharArray) else None
    if capacity is not None and length > capacity:
        raise error_at(
            value.column,
            f"the string has {length} bytes, {quoted(place.name)} at most {capacity}",
        )
    # A NUL is part of it; of a pointer's target one byte more must be read, since the kernel
    # ends what it has cut off with a NUL.
    size = length + 2 if pointer else min(length + 1, capacity or length + 1)
    if size > MAX_TEXT:
        longest = MAX_TEXT - (size - length)
        raise error_at(
            value.column, f"the string has {length} bytes, at most {longest} can be compared"
        )
    return TextTest(pointer, size, term.operator is Operator.EQ, value.value)


def _number_test(
    term: Term, value: Number | Name | None, integer: Integer, place: Place
) -> NumberTest:
    mask = _mask(term, integer, place)
    if value is None:
        return NumberTest(integer, mask, Operator.NE, 0)
    number = _enumerator(value, integer, place) if isinstance(value, Name) else value.value
    low, high = _range(integer) if mask is None else (0, mask)
    if not low <= number <= high:
        raise error_at(
            value.column,
            f"{number} is out of range: {quoted(place.name)}"
            f" ({_described(integer, mask, place)}) is between {low} and {high}",
        )
    if (term.operator, number) in ((Operator.LT, low), (Operator.GT, high)):
        raise error_at(
            value.column,
            f"{quoted(place.name)} ({_described(integer, mask, place)}) is never"
            f" '{term.operator}' {number}",
        )
    if mask is not None and number & ~mask and term.operator in (Operator.EQ, Operator.NE):
        raise error_at(
            value.column,
            f"{number:#x} has bits outside the mask {mask:#x}: {quoted(place.name)} is never equal"
            " to it",
        )
    return NumberTest(integer, mask, term.operator, number)


def _mask(term: Term, integer: Integer, place: Place) -> int | None:
    mask = term.steps[-1].mask
    if mask is None:
        return None
    effective = mask.value & ((1 << integer.bits) - 1)
    if not effective:
        raise error_at(
            mask.column,
            f"the mask leaves no bit of {quoted(place.name)} ({_described(integer, None, place)})",
        )
    return effective


def _enumerator(name: Name, integer: Integer, place: Place) -> int:
    if integer.names is None:
        raise error_at(
            name.column,
            f"{quoted(place.name)} is {article(place.type_name)}: expected a number, not"
            f" {quoted(name.text)}",
        )
    if name.text not in integer.names:
        raise _no_enumerator(name, integer.names, place)
    return integer.names[name.text]


def _no_enumerator(name: Name, known: dict[str, int], place: Place) -> UsageError:
    return error_at(
        name.column,
        f"{place.type_name} has no value {quoted(name.text)}{nearest(name.text, known)}",
    )


def _range(integer: Integer) -> tuple[int, int]:
    if integer.boolean:
        return 0, 1
    if integer.signed:
        return -(1 << (integer.bits - 1)), (1 << (integer.bits - 1)) - 1
    return 0, (1 << integer.bits) - 1


def _described(integer: Integer, mask: int | None, place: Place) -> str:
    bits = integer.bits if integer.shift or integer.bits % 8 else 0
    text = f"{place.type_name}, {bits} bit{'s' * (bits != 1)}" if bits else place.type_name
    return text if mask is None else f"{text}, masked with {mask:#x}"
