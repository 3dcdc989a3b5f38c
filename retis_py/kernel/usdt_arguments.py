"""Where a USDT probe's arguments are when it is hit, from the text in its note.

An argument is ``SIZE@OPERAND``: bytes, negative for signed ones, and an operand in the
assembler's own words, such as ``-4@12(%rbx)`` on x86-64 and ``8@[sp, 16]`` on arm64 (sys/sdt.h of
SystemTap; its wiki page UserSpaceProbeImplementation).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_NO_INDEX = 63  # USDT_NO_INDEX


@dataclass(frozen=True, slots=True)
class Constant:
    """The argument is a number."""

    value: int


@dataclass(frozen=True, slots=True)
class Register:
    """The argument is in a register: that word of struct pt_regs."""

    word: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The argument is in memory at ``base + index * scale + offset``.

    ``base`` and ``index`` are words of struct pt_regs; ``scale`` is 1, 2, 4 or 8.
    """

    base: int
    offset: int
    index: int | None = None
    scale: int = 1


@dataclass(frozen=True, slots=True)
class UsdtArgument:
    """One argument: ``size`` is 1, 2, 4 or 8 bytes."""

    size: int
    signed: bool
    place: Constant | Register | Memory

    @property
    def number(self) -> int:
        """The 64-bit constant that says so to a program (bpf/core/usdt.h); never 0.

        Of a constant it has 32 bits: no argument of more is a constant in practice.
        """
        match self.place:
            case Constant(value):
                kind, base, index, scale, low = 1, 0, _NO_INDEX, 1, value
            case Register(word):
                kind, base, index, scale, low = 2, word, _NO_INDEX, 1, 0
            case Memory(base, low, known_index, scale):
                kind, index = 3, _NO_INDEX if known_index is None else known_index
        log_size, log_scale = self.size.bit_length() - 1, scale.bit_length() - 1
        fields = kind | log_size << 2 | self.signed << 4 | base << 5 | index << 11 | log_scale << 17
        return (low & 0xFFFF_FFFF) << 32 | fields


def parse_arguments(text: str, machine: str) -> tuple[UsdtArgument | None, ...]:
    """Parse a note's argument string; None stands for an argument that cannot be read.

    That is one in a floating-point register, or relative to a symbol. ``machine`` is as uname(2)
    has it; all arguments of an unknown one are None.
    """
    # An operand of arm64 has blanks inside.
    texts = re.split(r"\s+(?=-?\d+f?@)", text.strip()) if text.strip() else []
    return tuple(_argument(one, machine) for one in texts)


def _argument(text: str, machine: str) -> UsdtArgument | None:
    found = re.fullmatch(r"(-?)([1248])@(.*)", text, re.DOTALL)
    parse = _OPERANDS.get(machine)
    if found is None or parse is None:
        return None
    size = int(found[2])
    place = parse(found[3].strip())
    return None if place is None else UsdtArgument(size, bool(found[1]), place)


_Operand = Constant | Register | Memory | None


# struct pt_regs of x86-64 (arch/x86/include/asm/ptrace.h), each register under its four sizes.
# The second bytes (ah to dh) are left out: compilers put no argument there.
_X86_WORDS = (
    ("r15", "r15d", "r15w", "r15b"),
    ("r14", "r14d", "r14w", "r14b"),
    ("r13", "r13d", "r13w", "r13b"),
    ("r12", "r12d", "r12w", "r12b"),
    ("rbp", "ebp", "bp", "bpl"),
    ("rbx", "ebx", "bx", "bl"),
    ("r11", "r11d", "r11w", "r11b"),
    ("r10", "r10d", "r10w", "r10b"),
    ("r9", "r9d", "r9w", "r9b"),
    ("r8", "r8d", "r8w", "r8b"),
    ("rax", "eax", "ax", "al"),
    ("rcx", "ecx", "cx", "cl"),
    ("rdx", "edx", "dx", "dl"),
    ("rsi", "esi", "si", "sil"),
    ("rdi", "edi", "di", "dil"),
    (),  # orig_ax
    ("rip",),
    (),  # cs
    (),  # flags
    ("rsp", "esp", "sp", "spl"),
)
_X86_REGISTERS = {name: word for word, names in enumerate(_X86_WORDS) for name in names}

_NUMBER = r"-?(?:0x[0-9a-fA-F]{1,16}|[0-9]{1,20})"
_X86_MEMORY = re.compile(
    rf"({_NUMBER})?\(\s*%(\w+)\s*(?:,\s*%(\w+)\s*(?:,\s*([1248])\s*)?)?\)", re.ASCII
)


def _x86_operand(text: str) -> _Operand:
    if re.fullmatch(rf"\${_NUMBER}", text):
        return _constant(text[1:])
    if text.startswith("%"):
        word = _X86_REGISTERS.get(text[1:])
        return None if word is None else Register(word)
    found = _X86_MEMORY.fullmatch(text)
    if found is None:
        return None
    offset, base, index, scale = found.groups()
    return _memory(
        _X86_REGISTERS.get(base),
        offset,
        None if index is None else _X86_REGISTERS.get(index, -1),
        int(scale or 1),
    )


# struct user_pt_regs of arm64: x0 to x30, sp (arch/arm64/include/uapi/asm/ptrace.h).
_ARM_REGISTERS = {f"{letter}{n}": n for letter in "xw" for n in range(31)} | {"sp": 31}
_ARM_MEMORY = re.compile(
    rf"\[\s*(\w+)\s*(?:,\s*#?({_NUMBER})\s*|,\s*(x\d+)\s*(?:,\s*lsl\s*#?([0-3])\s*)?)?\]",
    re.ASCII,
)


def _arm_operand(text: str) -> _Operand:
    if re.fullmatch(rf"#?{_NUMBER}", text):
        return _constant(text.removeprefix("#"))
    if text in ("xzr", "wzr"):
        return Constant(0)
    if (word := _ARM_REGISTERS.get(text)) is not None:
        return Register(word)
    found = _ARM_MEMORY.fullmatch(text)
    if found is None or found[1].startswith("w"):
        return None
    base, offset, index, shift = found.groups()
    return _memory(
        _ARM_REGISTERS.get(base),
        offset,
        None if index is None else _ARM_REGISTERS.get(index, -1),
        1 << int(shift or 0),
    )


def _constant(text: str) -> Constant | None:
    value = _int(text)
    return Constant(value) if -(1 << 63) <= value < 1 << 64 else None


def _memory(base: int | None, offset: str | None, index: int | None, scale: int) -> Memory | None:
    """None where a register is unknown (index -1) or no instruction has such an offset."""
    displacement = _int(offset or "0")
    if base is None or index == -1 or not -(1 << 31) <= displacement < 1 << 31:
        return None
    return Memory(base, displacement, index, scale)


def _int(text: str) -> int:
    return int(text, 16 if "x" in text else 10)  # base 0 would refuse 010


_OPERANDS: dict[str, Callable[[str], _Operand]] = {
    "x86_64": _x86_operand,
    "aarch64": _arm_operand,
}
