"""Metadata expressions: what they mean, and one line for each that means nothing."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.capabilities import require
from retis_py.errors import UsageError
from retis_py.expressions import MAX_LENGTH, MAX_TERMS
from retis_py.filters.meta import compile_meta_filter
from retis_py.filters.meta_grammar import (
    MAX_DEPTH,
    Chain,
    Joiner,
    Number,
    Operator,
    String,
    Term,
    parse,
)
from retis_py.kernel.btf import Btf
from unit.filters.made_types import VIA, made_types

DOCUMENTED = [
    "sk_buff.dev.nd_net.net.ns.inum == 4026531840",
    'sk_buff.dev.name == "eth0"',
    "sk_buff.dev.name == 'eth0'",
    "sk_buff._nfct:0x7 == 0x2",
    "sk_buff._nfct:~0x7:nf_conn.mark",
    "sk_buff.cloned",
    "sk_buff.mark:0xff == 0x2a",
    "sk_buff.mark == 0x100",
    "sk_buff.pkt_type == 0b11",
    "sk_buff.skb_iif >= -1",
    "sk_buff.dev.name == 'eth0' && sk_buff.mark == 0xf00",
    "(sk_buff.len > 64 and sk_buff.len <= 1500) || sk_buff.dev:~0x0.mtu < 1280",
]


@pytest.fixture(scope="session")
def btfs() -> list[Btf]:
    require("btf")
    return made_types(Btf.vmlinux())


def term(text: str) -> Term:
    parsed = parse(text)
    assert isinstance(parsed, Term)
    return parsed


# Reading


def test_a_term() -> None:
    found = term(" sk_buff._nfct : ~0x7 : nf_conn.mark <= -0 ")
    assert [step.name.text for step in found.steps] == ["_nfct", "mark"]
    first, last = found.steps
    assert first.mask is not None
    assert first.cast is not None
    assert (first.mask.value, first.mask.column) == (2**64 - 8, 18)
    assert (first.cast.text, first.cast.column) == ("nf_conn", 25)
    assert (last.mask, last.cast) == (None, None)
    assert found.operator is Operator.LE
    assert found.value == Number(0, 41)
    assert found.column == 2
    assert found.text == "sk_buff._nfct : ~0x7 : nf_conn.mark <= -0"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("-10", -10),
        ("- 10", -10),
        ("010", 10),
        ("0x1F", 31),
        ("0b101", 5),
        ("18446744073709551616", 1 << 64),
    ],
)
def test_numbers(text: str, value: int) -> None:
    found = term(f"sk_buff.len=={text}").value
    assert isinstance(found, Number)
    assert found.value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'eth0'", b"eth0"),
        ('"it\'s"', b"it's"),
        ("'a && \"b\" )'", b'a && "b" )'),
        ("''", b""),
        (r"'\n'", rb"\n"),
        ("'é'", "é".encode()),
        ("'\udcff'", b"\xff"),
    ],
)
def test_strings(text: str, value: bytes) -> None:
    found = term(f"sk_buff.dev.name == {text}").value
    assert isinstance(found, String)
    assert found.value == value


def test_without_an_operator_it_is_compared_with_zero() -> None:
    found = term("sk_buff.cloned")
    assert (found.operator, found.value) == (Operator.NE, None)


def test_joiners_bind_equally() -> None:
    a, b, c = (term(f"sk_buff.{name}") for name in "abc")

    def strip(node: Term | Chain) -> object:
        if isinstance(node, Term):
            return node.text
        return [strip(node.first), *((joiner, strip(operand)) for joiner, operand in node.rest)]

    texts = [found.text for found in (a, b, c)]
    assert strip(parse("sk_buff.a or sk_buff.b && sk_buff.c")) == [
        texts[0],
        (Joiner.OR, texts[1]),
        (Joiner.AND, texts[2]),
    ]
    assert strip(parse("sk_buff.a||(sk_buff.b and((sk_buff.c)))")) == [
        texts[0],
        (Joiner.OR, [texts[1], (Joiner.AND, texts[2])]),
    ]


# Errors

LONG = "x" * 65
ERRORS = [
    # Reading
    ("", "column 1: expected 'sk_buff' or '(', found the end"),
    ("  ", "column 1: expected 'sk_buff' or '(', found the end"),
    ("skb.len", "column 1: expected 'sk_buff' or '(', found 'skb'"),
    ("sk_buff", "column 8: expected '.' and a member, found the end"),
    ("sk_buff.", "column 9: expected a member's name, found the end"),
    ("sk_buff.5", "column 9: expected a member's name, found '5'"),
    ("sk_buff->len", "column 8: expected '.' and a member, found '-'"),
    ("sk_buff.len 5", "column 13: expected '&&', '||' or the end, found '5'"),
    ("sk_buff.len = 5", "column 13: '=' means nothing here: did you mean '=='?"),
    ("sk_buff.len === 5", "column 15: '=' means nothing here: did you mean '=='?"),
    ("sk_buff.len & 5", "column 13: '&' means nothing here: did you mean '&&'?"),
    ("!sk_buff.len", "column 1: '!' means nothing here"),
    ("sk_buff.len AND sk_buff.mark", "found 'AND' (did you mean 'and'?)"),
    (
        "sk_buff.len == ",
        "column 15: expected a number, a string in quotes or an enumerator's name, found the end",
    ),
    ("sk_buff.len == sk_buff.mark", "column 16: members are compared with numbers and strings"),
    ("sk_buff.len == -0x5", "column 17: expected a number in base 10 behind '-', found '0x5'"),
    ("sk_buff.len == -x", "column 17: expected a number in base 10 behind '-', found 'x'"),
    ("sk_buff.len == 5x", "column 16: '5x' is no number: expected 10, 0xa or 0b1010"),
    ("sk_buff.len == 0x", "column 16: '0x' is no number"),
    ("sk_buff.len == 0b12", "column 16: '0b12' is no number"),
    ("sk_buff.len == 1_000", "column 16: '1_000' is no number"),
    ("sk_buff.dev.name == 'eth0", "column 21: the string that begins here is not closed"),
    ("sk_buff.dev.name < 'eth0'", "column 18: strings are compared with '==' or '!=', not with"),
    ("sk_buff.dev.name == 'a\0b'", "column 21: a string in the kernel cannot hold a NUL"),
    ("sk_buff.dev.name == '\ud800'", r"column 21: ''\ud800'' cannot be written as bytes"),
    ("(sk_buff.len", "column 13: expected '&&', '||' or ')', found the end"),
    ("sk_buff.len)", "column 12: expected '&&', '||' or the end, found ')'"),
    ("()", "column 2: expected 'sk_buff' or '(', found ')'"),
    ("sk_buff.len and", "column 16: expected 'sk_buff' or '(', found the end"),
    ("sk_buff.len:", "column 13: expected a mask, like 0x7 or ~0x7, found the end"),
    ("sk_buff.len:-1", "column 13: expected a mask, like 0x7 or ~0x7, found '-'"),
    ("sk_buff._nfct:nf_conn.mark", "column 15: expected a mask, like 0x7 or ~0x7, found 'nf_conn'"),
    ("sk_buff.len:0", "column 13: the mask leaves no bit"),
    ("sk_buff.len:~0xffffffffffffffff", "column 13: the mask leaves no bit"),
    ("sk_buff.len:0x10000000000000000", "column 13: the mask has more than 64 bits"),
    ("sk_buff._nfct:~7:5", "column 18: expected a struct's name, found '5'"),
    ("sk_buff.len\x1b[31m", r"column 12: '\x1b' means nothing here"),
    ("sk_buff.len ٣", "column 13: '٣' means nothing here"),
    ("sk_buff.len " + "x" * 50, f"found '{'x' * 40}...'"),
    ("(" * (MAX_DEPTH + 1) + "sk_buff.len", f"column 33: more than {MAX_DEPTH} parentheses"),
    ("(" * 4000 + "sk_buff.len", f"column 33: more than {MAX_DEPTH} parentheses"),
    ("sk_buff.len" + " " * MAX_LENGTH, "the expression has 4,107 characters, at most 4,096 are"),
    (" or ".join(["sk_buff.len"] * (MAX_TERMS + 1)), "column 961: more than 64 comparisons"),
    # Members
    (
        "sk_buff.markk",
        "column 9: struct sk_buff has no member 'markk' in this kernel, did you mean 'mark'",
    ),
    ("sk_buff.qqq", "struct sk_buff has no member 'qqq' in this kernel"),
    ("sk_buff.dev.ifindexx", "column 13: struct net_device has no member 'ifindexx'"),
    ("sk_buff.len.x", "'len' cannot be followed, it is an unsigned int, no struct and no pointer"),
    ("sk_buff.cloned.x", "it is an unsigned char of 1 bit, no struct and no pointer to one"),
    ("sk_buff.head.x", "'head' cannot be followed, it is an unsigned char *, no pointer to a"),
    (f"{VIA}.void_pointer.x", "it is a void *, no pointer to a struct: say what it points to"),
    (f"{VIA}.pointer_pointer.x", "no pointer to a struct: say what it points to with a mask"),
    (f"{VIA}.nowhere.x", "column 32: this kernel's types have no struct 'made_nowhere'"),
    ("sk_buff._nfct:~7:nf_con.mark", "column 18: this kernel's types have no struct 'nf_con'"),
    ("sk_buff._nfct:~7:u32.mark", "column 18: this kernel's types have no struct 'u32'"),
    ("sk_buff._nfct:~7:nf_conn", "column 18: expected a member of 'nf_conn' behind it"),
    ("sk_buff.len:~7:nf_conn.mark", "it is an unsigned int, which cannot hold a pointer"),
    ("sk_buff.users:~7:nf_conn.mark", "a struct refcount_struct, which cannot hold a pointer"),
    ("sk_buff.users:1.refs", "column 15: 'users' is a struct refcount_struct: only numbers and"),
    # Values
    ("sk_buff.users", "is a struct refcount_struct and cannot be compared: go on to one of its"),
    ("sk_buff.users == 1", "column 9: 'users' is a struct refcount_struct and cannot be compared"),
    (f"{VIA}.wide", "'wide' is a __int128 and cannot be compared: only integers"),
    (f"{VIA}.real", "'real' is a double and cannot be compared: only integers"),
    (f"{VIA}.bytes8 == 'x'", "'bytes8' is a made u8[8] and cannot be compared"),
    (f"{VIA}.over_nine_bytes", "is a made u64 of 60 bits and cannot be compared"),
    ("sk_buff.dev.name", "column 13: 'name' is a char[16]: expected '==' or '!=' and a string in"),
    ("sk_buff.dev.name == 5", "column 21: 'name' is a char[16]: expected '==' or '!=' and a"),
    ("sk_buff.dev.name == eth0", "column 21: 'name' is a char[16]: expected '==' or '!=' and a"),
    ("sk_buff.dev.name:7 == 'x'", "column 18: a string cannot be masked: leave the mask out"),
    (f"sk_buff.dev.name == '{LONG}'", "the string has 65 bytes, 'name' at most 16"),
    (f"{VIA}.text100 == '{LONG[1:]}'", "the string has 64 bytes, at most 63 can be compared"),
    (f"{VIA}.char_pointer == '{LONG[2:]}'", "the string has 63 bytes, at most 62 can be compared"),
    ("sk_buff.len == 'x'", "column 16: 'len' is an unsigned int: expected a number"),
    ("sk_buff.len == x", "column 16: 'len' is an unsigned int: expected a number, not 'x'"),
    ("sk_buff.len == -1", "-1 is out of range: 'len' (unsigned int) is between 0 and 4294967295"),
    ("sk_buff.len == 4294967296", "4294967296 is out of range"),
    ("sk_buff.skb_iif == 0xffffffff", "(int) is between -2147483648 and 2147483647"),
    ("sk_buff.cloned == 2", "'cloned' (unsigned char, 1 bit) is between 0 and 1"),
    (f"{VIA}.sb7 == -65", "'sb7' (made s64, 7 bits) is between -64 and 63"),
    (f"{VIA}.boolean == 2", "'boolean' (_Bool) is between 0 and 1"),
    ("sk_buff.mark:0xff == 256", "'mark' (unsigned int, masked with 0xff) is between 0 and 255"),
    ("sk_buff.skb_iif:0xff == -1", "'skb_iif' (int, masked with 0xff) is between 0 and 255"),
    ("sk_buff.mark:0xf0 == 0xf", "0xf has bits outside the mask 0xf0: 'mark' is never equal to it"),
    ("sk_buff.cloned:2", "column 16: the mask leaves no bit of 'cloned' (unsigned char, 1 bit)"),
    ("sk_buff.len < 0", "column 15: 'len' (unsigned int) is never '<' 0"),
    ("sk_buff.cloned > 1", "'cloned' (unsigned char, 1 bit) is never '>' 1"),
    (f"{VIA}.enum0 == MADE_FIVES", "enum made_unsigned has no value 'MADE_FIVES', did you mean"),
    (f"{VIA}.enum3 == MADE_UNNAMED", "enum <anonymous> has no value 'MADE_UNNAMED'"),
    (f"{VIA}.enum1 == -2147483649", "(enum made_signed) is between -2147483648 and 2147483647"),
    (f"{VIA}.enum_bits == MADE_LARGE", "(enum made_unsigned, 3 bits) is between 0 and 7"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS, ids=[e[0][:40] for e in ERRORS])
def test_errors(text: str, message: str, btfs: list[Btf]) -> None:
    with pytest.raises(UsageError) as caught:
        compile_meta_filter(text, btfs)
    found = str(caught.value)
    assert found.startswith("--filter-meta: ")
    assert message in found
    assert found.isprintable()


@pytest.mark.parametrize("text", DOCUMENTED)
def test_documented_expressions_compile(text: str, btfs: list[Btf]) -> None:
    made = compile_meta_filter(text, btfs)
    assert made.count("static bool meta_filter(struct sk_buff *skb)") == 1
    assert made.count("static bool meta_term_") == len(re.findall("&&|and|[|][|]", text)) + 1


def test_types_of_later_btfs_are_found(btfs: list[Btf]) -> None:
    """A struct that one module declares and another defines."""
    assert "s->number == 0x5ULL" in compile_meta_filter(f"{VIA}.outside.number == 5", btfs)
    with pytest.raises(UsageError, match="no struct 'made_in_b'"):
        compile_meta_filter(f"{VIA}.outside.number == 5", btfs[:2])
    with pytest.raises(UsageError, match="no struct 'made_values'"):
        compile_meta_filter(f"{VIA}.outside.number == 5", btfs[:1])


def test_the_expression_stays_in_its_comment(btfs: list[Btf]) -> None:
    hostile = "*/ #error /* \\ ??/ \n\t\x1b"
    made = compile_meta_filter(f'{VIA}.text63 == "{hostile}"', btfs)
    code = re.sub(r"/\*.*?\*/", "", made, flags=re.DOTALL)
    assert "error" not in code
    assert made.count("/*") == made.count("*/") == 2
    assert all(c.isprintable() for c in made.replace("\n", "").replace("\t", ""))


# Anything at all

_pieces = st.sampled_from(
    [
        *("sk_buff", "sk_buff.len", "sk_buff.dev.name", "sk_buff._nfct", VIA, ".", ".dev", ":"),
        *(":~0x7:nf_conn", ".mark", "~", "0x", "0b2", "7", "-", "==", "!=", "<", ">=", "=", "&&"),
        *("||", "and", "or", "(", ")", "'", '"', "'eth0'", " ", "\n", "\0", "é", "__cloned_offset"),
    ]
)


@given(st.one_of(st.text(max_size=40), st.lists(_pieces, max_size=20).map("".join)))
@example("(" * MAX_LENGTH)
@example("sk_buff" + ".next" * 800)
@example("sk_buff.len==" + "9" * 4000)
@settings(max_examples=300, deadline=None)
def test_anything_compiles_or_is_one_line(btfs: list[Btf], text: str) -> None:
    _compile_or_one_line(text, btfs)


@given(
    st.sampled_from(DOCUMENTED),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 3), _pieces), min_size=1, max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_damaged_expressions_compile_or_are_one_line(
    btfs: list[Btf], text: str, damages: list[tuple[int, int, str]]
) -> None:
    for at, length, piece in damages:
        text = text[:at] + piece + text[at + length :]
    _compile_or_one_line(text, btfs)


def _compile_or_one_line(text: str, btfs: list[Btf]) -> None:
    try:
        compile_meta_filter(text, btfs)
    except UsageError as error:
        assert str(error).isprintable()
        assert str(error).startswith("--filter-meta: ")
