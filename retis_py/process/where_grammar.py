"""Expressions of ``--where``, read: text -> tokens -> a tree.

The grammar, in the form of RFC 5234; white space may stand between any two tokens::

    expression = both *(("or" / "||") both)
    both       = unless *(("and" / "&&") unless)
    unless     = *("not" / "!") operand
    operand    = "(" expression ")" / term
    term       = field [operator value / ["not"] "in" "(" value *("," value) ")"]
    field      = name *("." name)
    operator   = "==" / "!=" / "<" / "<=" / ">" / ">=" / "~" / "!~"
    value      = ["-"] number / string / "true" / "false"
    number     = decimal digits / "0x" hexadecimal digits / "0b" binary digits
    string     = text between a pair of " or of ' (there are no escapes)

So "not" binds tighter than "and", and "and" tighter than "or", as in Python, SQL and C. In the
metadata filter of ``collect`` they are equal, since retis has it so. What fields there are and
whether a value fits is not known here: see where_fields.py.
"""

import difflib
import re
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum, auto

from retis_py.errors import UsageError
from retis_py.events.escape import escape

MAX_LENGTH = 4096  # characters
MAX_DEPTH = 32  # parentheses and negations inside one another
MAX_TERMS = 64

_RESERVED = ("and", "or", "not", "in", "true", "false")
_BASES = {"0x": (16, string.hexdigits), "0b": (2, "01")}
_MISSPELT = {
    "=": "==",
    "=~": "~",
    "&": "&&",
    "|": "||",
    "AND": "and",
    "OR": "or",
    "NOT": "not",
    "IN": "in",
    "True": "true",
    "False": "false",
}


class Operator(StrEnum):
    """How a term compares; spelt as in C, patterns as in awk, ``in`` as in SQL."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    LIKE = "~"
    UNLIKE = "!~"
    IN = "in"
    NOT_IN = "not in"


@dataclass(frozen=True, slots=True)
class Name:
    """A name; columns are counted from 1."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class Value:
    """What a field is compared with: a number of any size, a string without quotes, a bool."""

    value: int | str | bool
    column: int


@dataclass(frozen=True, slots=True)
class Term:
    """A comparison of a field with a value, or several for ``in``; bare, without an operator."""

    field: tuple[Name, ...]
    operator: Operator | None
    operator_column: int
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of its operand."""

    operand: "Tree"


@dataclass(frozen=True, slots=True)
class And:
    """True if all operands are; there are at least two."""

    operands: "tuple[Tree, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """True if one of the operands is; there are at least two."""

    operands: "tuple[Tree, ...]"


Tree = Term | Not | And | Or


def error_at(column: int, message: str) -> UsageError:
    """Word an error in an expression; what it quotes goes through ``quoted``."""
    return UsageError(f"--where: column {column}: {message}")


def quoted(text: str) -> str:
    """Quote a piece of an expression: one line, of a length and of characters fit to show."""
    short = text if len(text) <= 40 else f"{text[:40]}..."
    return f"'{escape(short)}'"


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the known names was meant, if any is like it."""
    near = difflib.get_close_matches(name, known, n=3)
    return f", did you mean {' or '.join(quoted(n) for n in near)}?" if near else ""


def parse(expression: str) -> Tree:
    """Read an expression.

    Raises:
        UsageError: it is not one, or larger than can be.
    """
    if len(expression) > MAX_LENGTH:
        raise UsageError(
            f"--where: the expression has {len(expression):,} characters, at most"
            f" {MAX_LENGTH:,} are possible: shorten it"
        )
    return _Parser(expression).parse()


class _Kind(StrEnum):
    SPACE = auto()
    NAME = auto()
    NUMBER = auto()
    STRING = auto()
    SIGN = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str
    start: int

    @property
    def column(self) -> int:
        return self.start + 1

    def __str__(self) -> str:
        return "the end" if self.kind is _Kind.END else quoted(self.text)


# A name may have single hyphens inside: "skb-drop". ASCII only, as all names of fields are.
_TOKEN = re.compile(
    r"""(?P<SPACE>[ \t\r\n]+)
    |(?P<NAME>[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*)
    |(?P<NUMBER>[0-9][A-Za-z0-9_]*)
    |(?P<STRING>"[^"]*"|'[^']*')
    |(?P<SIGN>==|!=|!~|<=|>=|&&|\|\||[<>~!().,-])""",
    re.VERBOSE,
)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _no_token(text, at)
        if found.lastgroup != _Kind.SPACE.name:
            yield _Token(_Kind[found.lastgroup or ""], found[0], at)
        at = found.end()
    yield _Token(_Kind.END, "", len(text.rstrip(" \t\r\n")))


def _no_token(text: str, at: int) -> UsageError:
    first = text[at]
    if first in "\"'":
        return error_at(at + 1, f"the string that begins here is not closed: expected {first}")
    sign = "=~" if text.startswith("=~", at) else first
    hint = f": did you mean '{_MISSPELT[sign]}'?" if sign in _MISSPELT else ""
    return error_at(at + 1, f"{quoted(sign)} means nothing here{hint}")


class _Parser:
    """Recursive descent; each method reads one rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._terms = 0

    def parse(self) -> Tree:
        expression = self._expression(depth=0)
        if self._next.kind is not _Kind.END:
            raise self._expected("'and', 'or' or the end")
        return expression

    def _expression(self, depth: int) -> Tree:
        operands = self._joined(("or", "||"), lambda: self._both(depth))
        return Or(operands) if len(operands) > 1 else operands[0]

    def _both(self, depth: int) -> Tree:
        operands = self._joined(("and", "&&"), lambda: self._unless(depth))
        return And(operands) if len(operands) > 1 else operands[0]

    def _joined(self, joiners: tuple[str, str], operand: Callable[[], Tree]) -> tuple[Tree, ...]:
        operands = [operand()]
        while self._next.text in joiners:
            self._take()
            operands.append(operand())
        return tuple(operands)

    def _unless(self, depth: int) -> Tree:
        if self._next.text in ("not", "!"):
            self._check_depth(depth)
            self._take()
            return Not(self._unless(depth + 1))
        if self._next.text != "(":
            return self._term()
        self._check_depth(depth)
        self._take()
        inside = self._expression(depth + 1)
        if self._next.text != ")":
            raise self._expected("'and', 'or' or ')'")
        self._take()
        return inside

    def _check_depth(self, depth: int) -> None:
        if depth == MAX_DEPTH:
            raise error_at(
                self._next.column,
                f"more than {MAX_DEPTH} parentheses and negations inside one another",
            )

    def _term(self) -> Term:
        first = self._next
        if first.kind in (_Kind.STRING, _Kind.NUMBER):
            raise error_at(
                first.column,
                f"expected a field, found {first} (fields stand on the left, as in"
                " 'dev.name == \"eth0\"' and 'kernel.symbol ~ \"tcp_*\"')",
            )
        if first.text in _RESERVED:
            raise self._expected("a field, 'not' or '('")
        names = [self._name("a field, 'not' or '('")]
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise error_at(first.column, f"more than {MAX_TERMS} comparisons: use fewer")
        while self._next.text == ".":
            self._take()
            names.append(self._name("a field's name"))
        return self._comparison(tuple(names))

    def _comparison(self, field: tuple[Name, ...]) -> Term:
        sign = self._next
        if sign.text == "not":
            self._take()
            if self._next.text != "in":
                raise self._expected("'in' behind 'not'")
        if self._next.text == "in":
            self._take()
            operator = Operator.NOT_IN if sign.text == "not" else Operator.IN
            return Term(field, operator, sign.column, self._list())
        if sign.kind is _Kind.SIGN and sign.text in tuple(Operator):
            self._take()
            return Term(field, Operator(sign.text), sign.column, (self._value(),))
        return Term(field, None, sign.column, ())

    def _list(self) -> tuple[Value, ...]:
        if self._next.text != "(":
            raise self._expected("'(' and values, as in 'in (1, 2)'")
        self._take()
        values = [self._value()]
        while self._next.text == ",":
            self._take()
            values.append(self._value())
        if self._next.text != ")":
            raise self._expected("',' or ')'")
        self._take()
        return tuple(values)

    def _value(self) -> Value:
        first = self._next
        if first.text == "-":
            self._take()
            if self._next.kind is not _Kind.NUMBER or self._next.text[:2] in _BASES:
                raise self._expected("a number in base 10 behind '-'")
            return Value(-self._number(), first.column)
        if first.kind is _Kind.NUMBER:
            return Value(self._number(), first.column)
        if first.kind is _Kind.STRING:
            return Value(self._take().text[1:-1], first.column)
        if first.text in ("true", "false"):
            return Value(self._take().text == "true", first.column)
        if first.kind is _Kind.NAME and first.text not in _MISSPELT:
            raise error_at(
                first.column, f"expected a value, found {first} (strings stand in quotes)"
            )
        raise self._expected("a number, a string in quotes, true or false")

    def _number(self) -> int:
        token = self._take()
        base, digits = _BASES.get(token.text[:2], (10, string.digits))
        text = token.text if base == 10 else token.text[2:]
        if not text or text.strip(digits):
            raise error_at(token.column, f"{token} is no number: expected 10, 0xa or 0b1010")
        if len(text) > 128:
            raise error_at(token.column, "a number of that many digits is in no event")
        return int(text, base)

    def _name(self, what: str) -> Name:
        if self._next.kind is not _Kind.NAME:
            raise self._expected(what)
        token = self._take()
        return Name(token.text, token.column)

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _expected(self, what: str) -> UsageError:
        hint = _MISSPELT.get(self._next.text)
        return error_at(
            self._next.column,
            f"expected {what}, found {self._next}" + (f" (did you mean '{hint}'?)" if hint else ""),
        )
