"""A tree of ``--where`` to a Python expression, compiled once and evaluated for each event.

The expression is put together from the tree. Of what the user wrote nothing gets into its text:
attributes are those of the types of events, and values stand in a namespace under names made here.
"""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from retis_py.events.sections.ovs_detrace import ufid_text
from retis_py.expressions import nearest, quoted
from retis_py.process.where_fields import PRESENCE_ONLY, Access, Field, Kind, find, section_of
from retis_py.process.where_grammar import (
    And,
    Not,
    Operator,
    Or,
    Term,
    Tree,
    Value,
    error_at,
)

_FLOW_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRACKING_ID = re.compile(r"#?(?:0x)?([0-9a-fA-F]{1,32})")
_EXAMPLES = {
    Kind.NUMBER: "a number",
    Kind.TRACKING_ID: 'a number or an id as printed, like "#2fa1a142108ffff88819d692000"',
    Kind.STRING: "a string in quotes",
    Kind.STRINGS: "a string in quotes",
    Kind.FLOW_ID: 'a flow id in quotes, like "00000001-0000-0002-0000-000300000004"',
    Kind.BOOLEAN: "true or false",
}
_EQUALITY = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN})
_ORDER = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_PATTERNS = frozenset({Operator.LIKE, Operator.UNLIKE})
_OPERATORS = {
    Kind.NUMBER: _EQUALITY | _ORDER,
    Kind.TRACKING_ID: _EQUALITY | _ORDER,
    Kind.STRING: _EQUALITY | _PATTERNS,
    Kind.STRINGS: frozenset({Operator.EQ, Operator.LIKE, Operator.IN}),
    Kind.FLOW_ID: _EQUALITY | _PATTERNS,
    Kind.BOOLEAN: frozenset({Operator.EQ, Operator.NE}),
}
_NEGATED = frozenset({Operator.NE, Operator.UNLIKE, Operator.NOT_IN})


@dataclass(frozen=True, slots=True)
class Predicate:
    """What an expression became: ``matches(event)``, and the attributes of Event that it reads."""

    matches: Callable[[Any], bool]
    sections: frozenset[str]


def generate(tree: Tree) -> Predicate:
    """Compile a tree.

    Raises:
        UsageError: it names a field that events do not have, or compares one with what it cannot
            be.
    """
    generator = _Generator()
    text = f"lambda event: {generator.expression(tree)}"
    code = compile(text, "<--where>", "eval")
    matches = eval(code, generator.namespace)  # noqa: S307 (no text of the user's is in it)
    return Predicate(matches, frozenset(generator.sections))


@dataclass(slots=True)
class _Generator:
    namespace: dict[str, Any] = field(
        default_factory=lambda: {
            "__builtins__": {},
            "any": any,
            "map": map,
            "type": type,
            "ufid_text": ufid_text,
        }
    )
    sections: set[str] = field(default_factory=set)
    _names: int = 0

    def expression(self, tree: Tree) -> str:
        match tree:
            case And(operands):
                return f"({' and '.join(map(self.expression, operands))})"
            case Or(operands):
                return f"({' or '.join(map(self.expression, operands))})"
            case Not(operand):
                return f"(not {self.expression(operand)})"
        return self._term(tree)

    def _term(self, term: Term) -> str:
        found = find(term.field)
        self.sections.add(section_of(found))
        checks, place = self._reach(found, term.operator)
        comparison = (
            self._bare(found, place)
            if term.operator is None
            else (self._comparison(found, place, term, term.operator))
        )
        if comparison:
            checks.append(comparison)
        return f"({' and '.join(checks)})" if checks else "True"

    def _reach(self, found: Field, operator: Operator | None) -> tuple[list[str], str]:
        """Return checks that all on the way is there, and the expression of what is at its end."""
        checks: list[str] = []
        place = "event"
        *way, last = found.accesses
        for access in way:
            place = self._step(access, place)
            if access.optional:
                place = self._checked(place, checks)
        place = self._step(last, place)
        # None is equal to no value: only the others need to ask.
        simple = operator in (Operator.EQ, Operator.IN) and found.kind is not Kind.STRINGS
        if last.optional and not simple and (operator or found.kind is not Kind.BOOLEAN):
            place = self._checked(place, checks)
        return checks, place

    def _step(self, access: Access, place: str) -> str:
        there = access.template.format(place)
        if not access.owners:
            return there
        return f"({there} if type({place}) in {self._constant(access.owners)} else None)"

    def _checked(self, place: str, checks: list[str]) -> str:
        name = self._name("v")
        checks.append(f"({name} := {place}) is not None")
        return name

    def _bare(self, found: Field, place: str) -> str:
        """Ask of a boolean alone whether it is true; being there is all that others need."""
        return f"{place} is True" if found.kind is Kind.BOOLEAN else ""

    def _comparison(self, found: Field, place: str, term: Term, operator: Operator) -> str:
        _check_operator(found, term, operator)
        values = [_value(found, value, operator) for value in term.values]
        if operator in _PATTERNS:
            like = self._constant(re.compile(fnmatch.translate(values[0])).match)
            if found.kind is Kind.STRINGS:
                return f"any(map({like}, {place}))"
            return f"{like}({place}) is {'' if operator is Operator.UNLIKE else 'not '}None"
        if operator in (Operator.IN, Operator.NOT_IN):
            several = self._constant(frozenset(values))
            if found.kind is Kind.STRINGS:
                return f"not {several}.isdisjoint({place})"
            return f"{place} {operator} {several}"
        constant = self._constant(values[0])
        if found.kind is Kind.STRINGS:
            return f"{constant} in {place}"
        return f"{place} {operator} {constant}"

    def _constant(self, value: Any) -> str:
        name = self._name("c")
        self.namespace[name] = value
        return name

    def _name(self, letter: str) -> str:
        self._names += 1
        return f"{letter}{self._names}"


def _check_operator(found: Field, term: Term, operator: Operator) -> None:
    name = term.field[-1]
    if found.kind is Kind.GROUP:
        raise error_at(
            name.column,
            f"'{found.path}' is a group of fields and cannot be compared: go on to one of"
            f" {', '.join(found.inside)}",
        )
    if found.kind in PRESENCE_ONLY:
        instead = ": use -f" if found.kind is Kind.BYTES else ""
        raise error_at(
            name.column, f"'{found.path}' is {found.kind} and cannot be compared{instead}"
        )
    allowed = _OPERATORS[found.kind]
    if operator in allowed:
        return
    if found.kind is Kind.STRINGS and operator in _NEGATED:
        raise error_at(
            term.operator_column,
            f"'{found.path}' is a list of strings, any of which may match: put 'not' before the"
            f" comparison instead of '{operator}'",
        )
    spellings = " ".join(o for o in Operator if o in allowed)
    raise error_at(
        term.operator_column,
        f"'{found.path}' is {found.kind} and cannot be compared with '{operator}', only with"
        f" {spellings}",
    )


def _value(found: Field, value: Value, operator: Operator) -> Any:
    """Return what the field's own value is to be compared with."""
    given = value.value
    match found.kind:
        case Kind.NUMBER | Kind.TRACKING_ID if type(given) is int:
            return _in_range(found, given, value.column)
        case Kind.TRACKING_ID if isinstance(given, str):
            hexadecimal = _TRACKING_ID.fullmatch(given)
            if hexadecimal:
                return int(hexadecimal[1], 16)
        case Kind.STRING if isinstance(given, str):
            return given if operator in _PATTERNS else _chosen(found, given, value.column)
        case Kind.STRINGS if isinstance(given, str):
            return given
        case Kind.FLOW_ID if isinstance(given, str):
            if operator in _PATTERNS or _FLOW_ID.fullmatch(given):
                return given
        case Kind.BOOLEAN if isinstance(given, bool):
            return given
    raise error_at(
        value.column,
        f"'{found.path}' is {found.kind}: expected {_EXAMPLES[found.kind]}, found {_shown(given)}",
    )


def _in_range(found: Field, number: int, column: int) -> int:
    if not found.low <= number <= found.high:
        raise error_at(
            column,
            f"'{found.path}' is from {found.low} to {found.high}, never {quoted(str(number))}",
        )
    return number


def _chosen(found: Field, text: str, column: int) -> str:
    if found.choices and text not in found.choices:
        hint = nearest(text, found.choices) or nearest(text.lower(), found.choices)
        raise error_at(
            column,
            f"'{found.path}' is never {quoted(text)}{hint or ':'} it is one of"
            f" {', '.join(found.choices)}",
        )
    return text


def _shown(value: int | str | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"the string {quoted(value)}" if isinstance(value, str) else quoted(str(value))
