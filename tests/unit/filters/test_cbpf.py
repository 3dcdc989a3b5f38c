"""Classic BPF as C: compiled by gcc it does what libpcap's interpreter does."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interop.native_filters import NativeFilters, Packets

from retis_py.filters.cbpf import MEMORY_WORDS, UntranslatableError, translate
from retis_py.filters.libpcap import Instruction

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")

REJECT, ACCEPT, ACCEPT_A = (Instruction(0x06, 0, 0, k) for k in (0, 1, 0))
RETURN_A = Instruction(0x16, 0, 0, 0)
ALU = (0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x94, 0xA4)
JUMPS = (0x15, 0x25, 0x35, 0x45)
LOADS = (0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1)
PACKET = bytes.fromhex("45000102 80ff7fe1 00000000 ffffffff 0a141e28 01") + bytes(range(40))

_constants = st.one_of(
    st.integers(0, 70),
    st.sampled_from((0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFF0, 0x10000, 255)),
    st.integers(0, 0xFFFFFFFF),
)


def run(folder: Path, program: list[Instruction], packets: list[tuple[bytes, int]]) -> list[bool]:
    """Our verdicts alone, for what libpcap leaves undefined."""
    native = NativeFilters(folder, [translate(program, "f0")], "-O0")
    return [bool(v) for v in native.verdicts(0, [REJECT], Packets(packets)).ours]


@st.composite
def plain_instructions(draw: st.DrawFn) -> Instruction:
    kind = draw(st.sampled_from(("alu", "alu", "load", "load", "memory", "constant", "move")))
    k = draw(_constants)
    match kind:
        case "alu":
            code = draw(st.sampled_from(ALU)) | draw(st.sampled_from((0, 8)))
            if code in (0x34, 0x94):  # by a constant: libpcap's validator wants none of zero
                k = k or 1
            if code in (0x64, 0x74):
                k %= 32
        case "load":
            code = draw(st.sampled_from(LOADS))
            k = draw(st.one_of(st.integers(0, 64), st.integers(0, 0xFFDFFFFF), _constants))
            if code in (0x20, 0x28, 0x30):
                k = min(k, 0xFFDFFFFF)
        case "memory":
            code = draw(st.sampled_from((0x02, 0x03, 0x60, 0x61)))
            k %= MEMORY_WORDS
        case "constant":
            code = draw(st.sampled_from((0x00, 0x01, 0x80, 0x81)))
        case _:
            code = draw(st.sampled_from((0x07, 0x87, 0x84)))
    return Instruction(code, 0, 0, k)


@st.composite
def programs(draw: st.DrawFn) -> list[Instruction]:
    """Valid programs: jumps go forward to an instruction, the last one returns."""
    # libpcap before 1.11 does not clear its scratch memory.
    program = [Instruction(0x02, 0, 0, word) for word in range(MEMORY_WORDS)]
    length = draw(st.integers(1, 25))
    for left in range(length, 0, -1):
        kind = draw(st.sampled_from(("plain", "plain", "plain", "jump", "jump", "end")))
        # Not all the way too often, or little of a program runs.
        offset = st.integers(0, min(left, 4) if draw(st.booleans()) else left)
        if kind == "plain":
            program.append(draw(plain_instructions()))
        elif kind == "end" and left < length // 2:
            program.append(draw(st.sampled_from((REJECT, ACCEPT, RETURN_A))))
        elif draw(st.integers(0, 4)) == 0:
            program.append(Instruction(0x05, 0, 0, draw(offset)))
        else:
            code = draw(st.sampled_from(JUMPS)) | draw(st.sampled_from((0, 8)))
            program.append(Instruction(code, draw(offset), draw(offset), draw(_constants)))
    program[-1:] = [program[-1]] if program[-1].code & 7 != 5 else [RETURN_A]
    program += [draw(st.sampled_from((REJECT, RETURN_A, RETURN_A)))]
    return program


@st.composite
def packets(draw: st.DrawFn) -> tuple[bytes, int]:
    data = draw(st.one_of(st.binary(max_size=70), st.integers(0, 60).map(lambda n: PACKET[:n])))
    return data, len(data) + draw(st.sampled_from((0, 0, 1, 1000, 0x10000)))


@settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    many=st.lists(programs(), min_size=40, max_size=60),
    over=st.lists(packets(), min_size=20, max_size=30),
)
def test_random_programs(
    tmp_path_factory: pytest.TempPathFactory,
    many: list[list[Instruction]],
    over: list[tuple[bytes, int]],
) -> None:
    texts = [translate(program, f"f{i}") for i, program in enumerate(many)]
    native = NativeFilters(tmp_path_factory.mktemp("random"), texts, "-O0")
    data = Packets(over)
    for i, program in enumerate(many):
        ours, libpcaps = native.verdicts(i, program, data)
        assert ours == libpcaps, (program, texts[i])
