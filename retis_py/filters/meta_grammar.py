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

from dataclasses import dataclass
from enum import StrEnum

from retis_py.expressions import Kind, Language, Name, TokenReader

MAX_DEPTH = 32  # parentheses inside one another
ALL_BITS = (1 << 64) - 1

_ROOT = "sk_buff"
_LANGUAGE = Language(
    option="--filter-meta",
    name="[A-Za-z_][A-Za-z0-9_]*",
    signs=("==", "!=", "<=", ">=", "&&", "||", "<", ">", "(", ")", ".", ":", "~", "-"),
    misspelt={"=": "==", "&": "&&", "|": "||", "AND": "and", "OR": "or"},
)
error_at = _LANGUAGE.error_at


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


def parse(expression: str) -> Term | Chain:
    """Read an expression.

    Raises:
        UsageError: it is not one, or larger than can be.
    """
    return _Parser(expression).parse()


class _Parser(TokenReader):
    """Recursive descent; each method reads one rule of the grammar."""

    def __init__(self, text: str) -> None:
        super().__init__(_LANGUAGE, text)
        self._text = text

    def parse(self) -> Term | Chain:
        expression = self._expression(depth=0)
        if self._next.kind is not Kind.END:
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
        self._count_term(root.column)
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
        if self._next.kind is not Kind.NUMBER:
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
        if sign.kind is not Kind.SIGN or sign.text not in tuple(Operator):
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
            return Number(self._negative(), first.column)
        if first.text == _ROOT:
            raise error_at(
                first.column, "members are compared with numbers and strings, not with members"
            )
        match first.kind:
            case Kind.NUMBER:
                return Number(self._number(), first.column)
            case Kind.STRING:
                return self._string()
            case Kind.NAME:
                return self._name("")
        raise self._expected("a number, a string in quotes or an enumerator's name")

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
