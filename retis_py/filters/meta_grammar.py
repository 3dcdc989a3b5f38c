"""Metadata expressions, read: text -> tokens -> a tree.

The grammar, in the form of RFC 5234; white space may stand between any two tokens::

    expression = operand *(joiner operand)        ; equal precedence, left to right
    operand    = "(" expression ")" / term
    joiner     = "&&" / "and" / "||" / "or"
    term       = "sk_buff" 1*step [operator value]
    step       = "." name [":" mask [":" name]]   ; the second name is a struct's
    mask       = ["~"] number
    operator   = "==" / "!=" / "<" / "<=" / ">" / ">="
    value      = ["-"] number / string / name     ; the name is an enumerator's
    number     = decimal digits / "0x" hexadecimal digits / "0b" binary digits
    string     = text between a pair of " or of ' (there are no escapes)

What members there are and whether a value fits is not known here: see meta_types.py.
"""

import difflib
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum, auto

from retis_py.errors import UsageError

MAX_LENGTH = 4096  # characters
MAX_DEPTH = 32  # parentheses inside one another
MAX_TERMS = 64
ALL_BITS = (1 << 64) - 1

_ROOT = "sk_buff"
_FIRST_OF_NAME = frozenset(string.ascii_letters + "_")
_WORD = _FIRST_OF_NAME | frozenset(string.digits)
_SIGNS = ("==", "!=", "<=", ">=", "&&", "||", "<", ">", "(", ")", ".", ":", "~", "-")
_BASES = {"0x": (16, string.hexdigits), "0b": (2, "01")}
_MISSPELT = {"=": "==", "&": "&&", "|": "||", "AND": "and", "OR": "or"}


class Operator(StrEnum):
    """How a term compares; spelt as in C."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class Joiner(StrEnum):
    """What stands between two operands; spelt as in C."""

    AND = "&&"
    OR = "||"


_JOINERS = {"&&": Joiner.AND, "and": Joiner.AND, "||": Joiner.OR, "or": Joiner.OR}


@dataclass(frozen=True, slots=True)
class Name:
    """A name; columns are counted from 1."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number of any size."""

    value: int
    column: int


@dataclass(frozen=True, slots=True)
class String:
    """The bytes of a string: no quotes, no NUL."""

    value: bytes
    column: int


@dataclass(frozen=True, slots=True)
class Step:
    """One member of a path, a mask of 64 bits on it, and the struct that it then points to."""

    name: Name
    mask: Number | None
    cast: Name | None


@dataclass(frozen=True, slots=True)
class Term:
    """A comparison of a member; without an operator the member is compared with zero (!=)."""

    steps: tuple[Step, ...]
    operator: Operator
    value: Number | String | Name | None
    column: int
    text: str  # as it was written


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands and what joins each to all before it."""

    first: "Term | Chain"
    rest: tuple[tuple[Joiner, "Term | Chain"], ...]


def error_at(column: int, message: str) -> UsageError:
    """Word an error in an expression; what it quotes goes through ``quoted``."""
    return UsageError(f"--filter-meta: column {column}: {message}")


def quoted(text: str) -> str:
    """Quote a piece of an expression: one line, of a length and of characters fit to show."""
    short = text if len(text) <= 40 else f"{text[:40]}..."
    return f"'{short.encode('unicode_escape').decode()}'"


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the known names was meant, if any is like it."""
    near = difflib.get_close_matches(name, known, n=3)
    return f", did you mean {' or '.join(quoted(n) for n in near)}?" if near else ""


def parse(expression: str) -> Term | Chain:
    """Read an expression.

    Raises:
        UsageError: it is not one, or larger than can be.
    """
    if len(expression) > MAX_LENGTH:
        raise UsageError(
            f"--filter-meta: the expression has {len(expression):,} characters, at most"
            f" {MAX_LENGTH:,} are possible: shorten it"
        )
    return _Parser(expression).parse()


class _Kind(StrEnum):
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


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        first = text[at]
        if first in " \t\r\n":
            at += 1
            continue
        token = _token(text, at)
        yield token
        at += len(token.text)
    yield _Token(_Kind.END, "", len(text.rstrip(" \t\r\n")))


def _token(text: str, at: int) -> _Token:
    first = text[at]
    if first in _WORD:
        end = at
        while end < len(text) and text[end] in _WORD:
            end += 1
        return _Token(_Kind.NAME if first in _FIRST_OF_NAME else _Kind.NUMBER, text[at:end], at)
    if first in "\"'":
        end = text.find(first, at + 1)
        if end < 0:
            raise error_at(at + 1, f"the string that begins here is not closed: expected {first}")
        return _Token(_Kind.STRING, text[at : end + 1], at)
    for sign in _SIGNS:
        if text.startswith(sign, at):
            return _Token(_Kind.SIGN, sign, at)
    hint = f": did you mean '{_MISSPELT[first]}'?" if first in _MISSPELT else ""
    raise error_at(at + 1, f"{quoted(first)} means nothing here{hint}")


class _Parser:
    """Recursive descent; each method reads one rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0
        self._terms = 0

    def parse(self) -> Term | Chain:
        expression = self._expression(depth=0)
        if self._next.kind is not _Kind.END:
            raise self._expected("'&&', '||' or the end")
        return expression

    def _expression(self, depth: int) -> Term | Chain:
        first = self._operand(depth)
        rest = []
        while joiner := _JOINERS.get(self._next.text):
            self._take()
            rest.append((joiner, self._operand(depth)))
        return Chain(first, tuple(rest)) if rest else first

    def _operand(self, depth: int) -> Term | Chain:
        if self._next.text != "(":
            return self._term()
        if depth == MAX_DEPTH:
            raise error_at(
                self._next.column, f"more than {MAX_DEPTH} parentheses inside one another"
            )
        self._take()
        inside = self._expression(depth + 1)
        if self._next.text != ")":
            raise self._expected("'&&', '||' or ')'")
        self._take()
        return inside

    def _term(self) -> Term:
        if self._next.text != _ROOT:
            raise self._expected(f"'{_ROOT}' or '('")
        root = self._take()
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise error_at(root.column, f"more than {MAX_TERMS} comparisons: use fewer")
        if self._next.text != ".":
            raise self._expected("'.' and a member")
        steps = []
        while self._next.text == ".":
            steps.append(self._step())
        operator, value = self._comparison()
        last = self._tokens[self._at - 1]
        text = self._text[root.start : last.start + len(last.text)]
        return Term(tuple(steps), operator, value, root.column, text)

    def _step(self) -> Step:
        self._take()
        name = self._name("a member's name")
        mask, cast = None, None
        if self._next.text == ":":
            self._take()
            mask = self._mask()
            if self._next.text == ":":
                self._take()
                cast = self._name("a struct's name")
        return Step(name, mask, cast)

    def _mask(self) -> Number:
        first = self._next
        inverted = first.text == "~"
        if inverted:
            self._take()
        if self._next.kind is not _Kind.NUMBER:
            raise self._expected("a mask, like 0x7 or ~0x7")
        value = self._number()
        if value > ALL_BITS:
            raise error_at(first.column, "the mask has more than 64 bits")
        mask = value ^ ALL_BITS if inverted else value
        if not mask:
            raise error_at(first.column, "the mask leaves no bit: expected one with bits set")
        return Number(mask, first.column)

    def _comparison(self) -> tuple[Operator, Number | String | Name | None]:
        sign = self._next
        if sign.kind is not _Kind.SIGN or sign.text not in tuple(Operator):
            return Operator.NE, None
        self._take()
        operator, value = Operator(sign.text), self._value()
        if isinstance(value, String) and operator not in (Operator.EQ, Operator.NE):
            raise error_at(
                sign.column, f"strings are compared with '==' or '!=', not with '{sign.text}'"
            )
        return operator, value

    def _value(self) -> Number | String | Name:
        first = self._next
        if first.text == "-":
            self._take()
            if self._next.kind is not _Kind.NUMBER or self._next.text[:2] in _BASES:
                raise self._expected("a number in base 10 behind '-'")
            return Number(-self._number(), first.column)
        if first.text == _ROOT:
            raise error_at(
                first.column, "members are compared with numbers and strings, not with members"
            )
        match first.kind:
            case _Kind.NUMBER:
                return Number(self._number(), first.column)
            case _Kind.STRING:
                return self._string()
            case _Kind.NAME:
                return self._name("")
        raise self._expected("a number, a string in quotes or an enumerator's name")

    def _number(self) -> int:
        token = self._take()
        base, digits = _BASES.get(token.text[:2], (10, string.digits))
        text = token.text if base == 10 else token.text[2:]
        if not text or text.strip(digits):
            raise error_at(token.column, f"{token} is no number: expected 10, 0xa or 0b1010")
        return int(text, base)

    def _string(self) -> String:
        token = self._take()
        text = token.text[1:-1]
        try:
            # As Python decodes arguments that are not UTF-8.
            value = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise error_at(token.column, f"{token} cannot be written as bytes") from None
        if b"\0" in value:
            raise error_at(token.column, "a string in the kernel cannot hold a NUL")
        return String(value, token.column)

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
