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

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from retis_py.expressions import Kind, Language, Name, TokenReader

MAX_DEPTH = 32  # parentheses and negations inside one another

_RESERVED = ("and", "or", "not", "in", "true", "false")
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
# A name may have single hyphens inside: "skb-drop".
_LANGUAGE = Language(
    option="--where",
    name="[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*",
    signs=(*("==", "!=", "!~", "<=", ">=", "&&", "||"), *"<>~!().,-"),
    misspelt=_MISSPELT,
)
error_at = _LANGUAGE.error_at


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


def parse(expression: str) -> Tree:
    """Read an expression.

    Raises:
        UsageError: it is not one, or larger than can be.
    """
    return _Parser(expression).parse()


class _Parser(TokenReader):
    """Recursive descent; each method reads one rule of the grammar."""

    def __init__(self, text: str) -> None:
        super().__init__(_LANGUAGE, text)

    def parse(self) -> Tree:
        expression = self._expression(depth=0)
        if self._next.kind is not Kind.END:
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
        if first.kind in (Kind.STRING, Kind.NUMBER):
            raise error_at(
                first.column,
                f"expected a field, found {first} (fields stand on the left, as in"
                " 'dev.name == \"eth0\"' and 'kernel.symbol ~ \"tcp_*\"')",
            )
        if first.text in _RESERVED:
            raise self._expected("a field, 'not' or '('")
        names = [self._name("a field, 'not' or '('")]
        self._count_term(first.column)
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
        if sign.kind is Kind.SIGN and sign.text in tuple(Operator):
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
            return Value(self._negative(), first.column)
        if first.kind is Kind.NUMBER:
            return Value(self._number(), first.column)
        if first.kind is Kind.STRING:
            return Value(self._take().text[1:-1], first.column)
        if first.text in ("true", "false"):
            return Value(self._take().text == "true", first.column)
        if first.kind is Kind.NAME and first.text not in _MISSPELT:
            raise error_at(
                first.column, f"expected a value, found {first} (strings stand in quotes)"
            )
        raise self._expected("a number, a string in quotes, true or false")
