"""What the expressions of ``--filter-meta`` and ``--where`` have in common: tokens, and errors.

Each has a grammar of its own: filters/meta_grammar.py, process/where_grammar.py.
"""

import re
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

from retis_py.errors import UsageError
from retis_py.similar import similar

MAX_LENGTH = 4096  # characters
MAX_TERMS = 64

BASES = {"0x": (16, string.hexdigits), "0b": (2, "01")}
_MOST_DIGITS = 128  # a tracking id in binary
_SPACE = " \t\r\n"


class Kind(StrEnum):
    """Kinds of tokens."""

    NAME = auto()
    NUMBER = auto()
    STRING = auto()
    SIGN = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Name:
    """A name; columns are counted from 1."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression as it was written."""

    kind: Kind
    text: str
    start: int

    @property
    def column(self) -> int:
        """Where it begins, counted from 1."""
        return self.start + 1

    def __str__(self) -> str:
        return "the end" if self.kind is Kind.END else quoted(self.text)


def quoted(text: str) -> str:
    """Quote a piece of an expression: one line, of a length and of characters fit to show."""
    short = text if len(text) <= 40 else f"{text[:40]}..."
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short) + "'"


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the known names was meant, if any is like it."""
    near = similar(name, known, 3)
    return f", did you mean {' or '.join(quoted(n) for n in near)}?" if near else ""


@dataclass(frozen=True, slots=True)
class Language:
    """The words of one option's expressions.

    ``name`` is the pattern of a name, in ASCII as all names of the kernel and of fields are;
    ``signs`` begins with the long ones; ``misspelt`` tells what to write instead of what is often
    written.
    """

    option: str
    name: str
    signs: tuple[str, ...]
    misspelt: Mapping[str, str]

    def error_at(self, column: int, message: str) -> UsageError:
        """Word an error in an expression; what it quotes goes through ``quoted``."""
        return UsageError(f"{self.option}: column {column}: {message}")

    def check_length(self, expression: str) -> None:
        """Raise UsageError if an expression is too long."""
        if len(expression) > MAX_LENGTH:
            raise UsageError(
                f"{self.option}: the expression has {len(expression):,} characters, at most"
                f" {MAX_LENGTH:,} are possible: shorten it"
            )

    def tokens(self, text: str) -> Iterator[Token]:
        """Iterate over the tokens of an expression, ``END`` last. Raises UsageError."""
        pattern = re.compile(
            rf"(?P<NAME>{self.name})|(?P<NUMBER>[0-9][A-Za-z0-9_]*)"
            rf"""|(?P<STRING>"[^"]*"|'[^']*')|(?P<SIGN>{"|".join(map(re.escape, self.signs))})"""
        )
        at = 0
        while at < len(text):
            if text[at] in _SPACE:
                at += 1
                continue
            found = pattern.match(text, at)
            if found is None:
                raise self._no_token(text, at)
            yield Token(Kind[found.lastgroup or ""], found[0], at)
            at = found.end()
        yield Token(Kind.END, "", len(text.rstrip(_SPACE)))

    def _no_token(self, text: str, at: int) -> UsageError:
        first = text[at]
        if first in "\"'":
            message = f"the string that begins here is not closed: expected {first}"
            return self.error_at(at + 1, message)
        meant = [sign for sign in self.misspelt if text.startswith(sign, at)]
        sign = max(meant, key=len, default=first)
        hint = f": did you mean '{self.misspelt[sign]}'?" if meant else ""
        return self.error_at(at + 1, f"{quoted(sign)} means nothing here{hint}")


class TokenReader:
    """What a parser by recursive descent stands on: the tokens, taken one after the other."""

    def __init__(self, language: Language, text: str) -> None:
        language.check_length(text)
        self._language = language
        self._tokens = list(language.tokens(text))
        self._at = 0
        self._terms = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _expected(self, what: str) -> UsageError:
        hint = self._language.misspelt.get(self._next.text)
        return self._language.error_at(
            self._next.column,
            f"expected {what}, found {self._next}" + (f" (did you mean '{hint}'?)" if hint else ""),
        )

    def _count_term(self, column: int) -> None:
        self._terms += 1
        if self._terms > MAX_TERMS:
            message = f"more than {MAX_TERMS} comparisons: use fewer"
            raise self._language.error_at(column, message)

    def _name(self, what: str) -> Name:
        if self._next.kind is not Kind.NAME:
            raise self._expected(what)
        token = self._take()
        return Name(token.text, token.column)

    def _negative(self) -> int:
        """Read a number behind the minus sign that comes next."""
        self._take()
        if self._next.kind is not Kind.NUMBER or self._next.text[:2] in BASES:
            raise self._expected("a number in base 10 behind '-'")
        return -self._number()

    def _number(self) -> int:
        token = self._take()
        base, digits = BASES.get(token.text[:2], (10, string.digits))
        text = token.text if base == 10 else token.text[2:]
        if not text or text.strip(digits):
            message = f"{token} is no number: expected 10, 0xa or 0b1010"
            raise self._language.error_at(token.column, message)
        if len(text) > _MOST_DIGITS:
            message = f"a number has at most {_MOST_DIGITS} digits"
            raise self._language.error_at(token.column, message)
        return int(text, base)
