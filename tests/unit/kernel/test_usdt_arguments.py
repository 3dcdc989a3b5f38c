import pytest
from hypothesis import given
from hypothesis import strategies as st

from retis_py.kernel.usdt_arguments import (
    Constant,
    Memory,
    Register,
    UsdtArgument,
    parse_arguments,
)

BP, BX, AX, DX, SI, DI, IP, SP = 4, 5, 10, 12, 13, 14, 16, 19  # words of x86-64's struct pt_regs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8@%rdi", UsdtArgument(8, False, Register(DI))),
        ("-4@%eax", UsdtArgument(4, True, Register(AX))),
        ("2@%si", UsdtArgument(2, False, Register(SI))),
        ("1@%dl", UsdtArgument(1, False, Register(DX))),
        ("-1@%sil", UsdtArgument(1, True, Register(SI))),
        ("1@%r9b", UsdtArgument(1, False, Register(8))),
        ("2@%r9w", UsdtArgument(2, False, Register(8))),
        ("4@%r15d", UsdtArgument(4, False, Register(0))),
        ("8@%rsp", UsdtArgument(8, False, Register(SP))),
        ("4@$7", UsdtArgument(4, False, Constant(7))),
        ("-4@$-1", UsdtArgument(4, True, Constant(-1))),
        ("8@$0x10", UsdtArgument(8, False, Constant(16))),
        ("4@$010", UsdtArgument(4, False, Constant(10))),
        ("8@$18446744073709551615", UsdtArgument(8, False, Constant(2**64 - 1))),
        ("8@(%rax)", UsdtArgument(8, False, Memory(AX, 0))),
        ("-4@-12(%rbp)", UsdtArgument(4, True, Memory(BP, -12))),
        ("8@584(%rbx)", UsdtArgument(8, False, Memory(BX, 584))),
        ("8@0x20(%rip)", UsdtArgument(8, False, Memory(IP, 32))),
        ("4@8(%rax,%rdx,4)", UsdtArgument(4, False, Memory(AX, 8, DX, 4))),
        ("4@(%rax, %rdx)", UsdtArgument(4, False, Memory(AX, 0, DX, 1))),
    ],
)
def test_x86_64(text: str, expected: UsdtArgument) -> None:
    assert parse_arguments(text, "x86_64") == (expected,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8@x0", UsdtArgument(8, False, Register(0))),
        ("-4@w30", UsdtArgument(4, True, Register(30))),
        ("8@sp", UsdtArgument(8, False, Register(31))),
        ("4@wzr", UsdtArgument(4, False, Constant(0))),
        ("-4@-5", UsdtArgument(4, True, Constant(-5))),
        ("4@#5", UsdtArgument(4, False, Constant(5))),
        ("8@[x2]", UsdtArgument(8, False, Memory(2, 0))),
        ("-4@[sp, 60]", UsdtArgument(4, True, Memory(31, 60))),
        ("8@[x29,#-16]", UsdtArgument(8, False, Memory(29, -16))),
        ("8@[x1, x2]", UsdtArgument(8, False, Memory(1, 0, 2, 1))),
        ("8@[x1, x2, lsl 3]", UsdtArgument(8, False, Memory(1, 0, 2, 8))),
    ],
)
def test_arm64(text: str, expected: UsdtArgument) -> None:
    assert parse_arguments(text, "aarch64") == (expected,)


def test_several_with_blanks_inside() -> None:
    found = parse_arguments("8@[sp, 16] -4@w1  8@[x1, x2, lsl 3]", "aarch64")
    places = [argument and argument.place for argument in found]
    assert places == [Memory(31, 16), Register(1), Memory(1, 0, 2, 8)]


def test_none() -> None:
    assert parse_arguments("", "x86_64") == ()
    assert parse_arguments(" ", "aarch64") == ()


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("8f@%xmm0", "x86_64"),
        ("8@%xmm0", "x86_64"),
        ("1@%ah", "x86_64"),
        ("4@counter(%rip)", "x86_64"),
        ("4@8(%rax,%xmm0,4)", "x86_64"),
        ("4@8(%rax,%rdx,3)", "x86_64"),
        ("4@(,%rdx,4)", "x86_64"),
        ("8@%fs:40(%rax)", "x86_64"),
        ("3@%rax", "x86_64"),
        ("8@4294967296(%rax)", "x86_64"),
        ("8@$99999999999999999999", "x86_64"),
        ("8@x0", "x86_64"),
        ("%rax", "x86_64"),
        ("8@", "x86_64"),
        ("8f@d0", "aarch64"),
        ("8@x31", "aarch64"),
        ("8@[w1]", "aarch64"),
        ("8@[x1, 8]!", "aarch64"),
        ("8@[x1, w2, sxtw 3]", "aarch64"),
        ("8@%rax", "aarch64"),
        ("8@%rax", "riscv64"),
    ],
)
def test_what_cannot_be_read_is_none(text: str, machine: str) -> None:
    assert parse_arguments(text, machine) == (None,)


def test_one_that_cannot_be_read_keeps_its_place() -> None:
    first, second, third = parse_arguments("8@%rax 8f@%xmm1 8@%rdi", "x86_64")
    assert first is not None
    assert second is None
    assert third == UsdtArgument(8, False, Register(DI))


@given(
    st.text() | st.lists(st.sampled_from([*"0189-@%$#(),[] x", "rax", "lsl", "sp"])).map("".join),
    st.sampled_from(["x86_64", "aarch64", ""]),
)
def test_any_text(text: str, machine: str) -> None:
    for argument in parse_arguments(text, machine):
        assert argument is None or argument.size in (1, 2, 4, 8)
