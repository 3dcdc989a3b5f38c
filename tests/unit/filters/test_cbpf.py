"""Classic BPF as C: compiled by gcc it does what libpcap's interpreter does."""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from interop.native_filters import NativeFilters, Packets
from interop.packet_strategies import repeatable
from retis_py.filters.cbpf import MEMORY_WORDS, UntranslatableError, translate
from retis_py.filters.libpcap import Instruction

gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")

REJECT, ACCEPT = (Instruction(0x06, 0, 0, k) for k in (0, 1))
RETURN_A = Instruction(0x16, 0, 0, 0)
ALU = (0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x94, 0xA4)
DIVISIONS, SHIFTS = (0x34, 0x94), (0x64, 0x74)
LOADS, INDEXED_LOADS, HEADER_LENGTH = (0x20, 0x28, 0x30), (0x40, 0x48, 0x50), 0xB1
JUMPS = (0x15, 0x25, 0x35, 0x45)
STORES, RECALLS = (0x02, 0x03), (0x60, 0x61)
EDGES = (0, 1, 31, 32, 255, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
#: Every opcode there is.
OPCODES = {
    *(code | source for code in (*ALU, *JUMPS) for source in (0, 8)),
    *(0x84, 0x05, 0x06, 0x16, 0x00, 0x01, 0x80, 0x81, 0x07, 0x87, HEADER_LENGTH),
    *(*LOADS, *INDEXED_LOADS, *STORES, *RECALLS),
}


def constant(random: Random) -> int:
    return random.choice((random.randrange(70), random.choice(EDGES), random.getrandbits(32)))


def plain_instruction(random: Random) -> Instruction:
    k = constant(random)
    match random.choice(("alu", "alu", "load", "load", "memory", "constant", "move")):
        case "alu":
            code = random.choice(ALU) | random.choice((0, 8))
            # What libpcap's validator refuses, or leaves to C.
            k = k or 1 if code in DIVISIONS else k % 32 if code in SHIFTS else k
        case "load":
            code = random.choice((*LOADS, *INDEXED_LOADS, HEADER_LENGTH))
            k = random.choice((random.randrange(64), random.randrange(64), k))
            k = min(k, 0xFFDFFFFF) if code in LOADS else k
        case "memory":
            code, k = random.choice((*STORES, *RECALLS)), random.randrange(MEMORY_WORDS)
        case "constant":
            code = random.choice((0x00, 0x01, 0x80, 0x81))
        case _:
            code = random.choice((0x07, 0x87, 0x84))
    return Instruction(code, 0, 0, k)


def random_program(random: Random) -> list[Instruction]:
    """A valid program: jumps go forward to an instruction, the last one returns."""
    # libpcap before 1.11 does not clear its scratch memory.
    program = [Instruction(0x02, 0, 0, word) for word in range(MEMORY_WORDS)]
    for left in range(random.randint(1, 25), 0, -1):

        def offset(left: int = left) -> int:
            # Most of them short, or little of a program runs.
            return random.randint(0, min(left - 1, random.choice((2, 2, 5, left))))

        match random.choice(("plain",) * 8 + ("jump",) * 3 + ("end",) * (left < 5)):
            case "plain":
                program.append(plain_instruction(random))
            case "end":
                program.append(random.choice((REJECT, ACCEPT, RETURN_A)))
            case "jump" if random.randrange(5):
                code = random.choice(JUMPS) | random.choice((0, 8))
                program.append(Instruction(code, offset(), offset(), constant(random)))
            case "jump":
                program.append(Instruction(0x05, 0, 0, offset()))
    return [*program, random.choice((REJECT, ACCEPT, RETURN_A, RETURN_A))]


def random_packet(random: Random) -> tuple[bytes, int]:
    data = random.randbytes(random.randint(0, 70))
    return data, len(data) + random.choice((0, 0, 1, 1000, 0x10000))


@gcc
@pytest.mark.parametrize("seed", range(3))
def test_random_programs(tmp_path: Path, seed: int) -> None:
    random = repeatable(seed)
    programs = [random_program(random) for _ in range(1000)]
    packets = Packets([random_packet(random) for _ in range(300)])
    texts = [translate(program, f"f{i}") for i, program in enumerate(programs)]
    native = NativeFilters(tmp_path, texts, "-O0")
    both = 0
    for i, program in enumerate(programs):
        ours, libpcaps = native.verdicts(i, program, packets)
        assert ours == libpcaps, (program, texts[i])
        both += len(set(ours)) == 2
    assert {i.code for program in programs for i in program} == OPCODES
    assert both > 100  # programs that tell packets apart


def verdict(folder: Path, *program: Instruction) -> bool:
    """Ours alone, over a packet of eight bytes, where libpcap leaves the outcome undefined."""
    native = NativeFilters(folder, [translate(program, "f0")], "-O0")
    return bool(native.verdicts(0, [REJECT], Packets([(bytes(range(8)), 8)])).ours[0])


def set_a(k: int) -> Instruction:
    return Instruction(0x00, 0, 0, k)


@gcc
@pytest.mark.parametrize("code", SHIFTS)
@pytest.mark.parametrize(("by", "left"), [(31, True), (32, False), (255, False)])
def test_shift_by_a_constant_that_is_too_large(
    tmp_path: Path, code: int, by: int, left: bool
) -> None:
    assert verdict(tmp_path, set_a(0xFFFFFFFF), Instruction(code, 0, 0, by), RETURN_A) is left


@gcc
@pytest.mark.parametrize("code", DIVISIONS)
def test_division_by_a_constant_zero_rejects(tmp_path: Path, code: int) -> None:
    assert not verdict(tmp_path, set_a(7), Instruction(code, 0, 0, 0), ACCEPT)


@gcc
def test_memory_starts_cleared(tmp_path: Path) -> None:
    assert not verdict(tmp_path, set_a(7), Instruction(0x60, 0, 0, 15), RETURN_A)


def jump(k: int) -> Instruction:
    return Instruction(0x05, 0, 0, k)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([], "does not end"),
        ([set_a(1)], "does not end"),
        ([ACCEPT, jump(0)], "1 jumps out"),
        ([jump(1), ACCEPT], "0 jumps out"),
        ([Instruction(0x15, 0, 9, 0), ACCEPT], "0 jumps out"),
        ([ACCEPT, jump(0xFFFFFFFE), ACCEPT], "loop"),
        ([Instruction(0x60, 0, 0, 16), ACCEPT], r"M\[16\]"),
        ([Instruction(0x03, 0, 0, 1 << 31), ACCEPT], r"M\[2147483648\]"),
        ([Instruction(0x30, 0, 0, 0xFFFFF000 + 44), ACCEPT], "metadata at -4052"),
        ([Instruction(0x28, 0, 0, 0xFFE00000), ACCEPT], "metadata at -2097152"),
        *(
            ([Instruction(code, 0, 0, 0), ACCEPT], f"unknown opcode {code:#x}$")
            for code in sorted({*range(0x120), 0x8000, 0xFFFF} - OPCODES)
        ),
    ],
)
def test_what_is_not_translated(program: list[Instruction], message: str) -> None:
    with pytest.raises(UntranslatableError, match=message):
        translate(program, "f")


@pytest.mark.parametrize("jump_of", [lambda k: Instruction(0x15, k, k, 3), jump])
def test_a_jump_to_the_next_instruction_is_none(jump_of: Callable[[int], Instruction]) -> None:
    text = translate([jump_of(0), jump_of(1), REJECT, ACCEPT], "f")
    assert text.count("goto") == 1
    assert text.count("L3:") == text.count(":") == 1
