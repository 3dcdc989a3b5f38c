"""A program's copy that counts: does what the program does, and counts what it executes."""

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest

from bench.instructions import Executed, count_blocks, make_counting
from lab.capabilities import require
from retis_py.collect.compiled import Compiled, MapDefinition
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.plan import PlanOptions, make_plan
from retis_py.collect.program import PROBE_NUMBER, PROBE_SHAPE
from retis_py.collectors.registry import CollectorOptions
from retis_py.collectors.skb import SkbPart
from retis_py.kernel.host import Host
from unit.collect.running import Runner, compile_text

ARRAY = 2  # BPF_MAP_TYPE_ARRAY
MAP_LOOKUP, GET_TIME = 1, 5  # BPF_FUNC_map_lookup_elem, BPF_FUNC_ktime_get_ns

Instruction = tuple[int, int, int, int]  # opcode, registers, offset, immediate

EXIT: Instruction = (0x95, 0, 0, 0)


@pytest.fixture(autouse=True)
def _needed() -> None:
    require("root")
    require("btf")


def code(*instructions: Instruction) -> bytes:
    return b"".join(struct.pack("=BBhi", *each) for each in instructions)


def run(
    program: bytes,
    *arguments: tuple[int, ...],
    maps: Sequence[MapDefinition] = (),
    constants: Mapping[int, int] = MappingProxyType({}),
) -> tuple[list[int], Executed]:
    """What the copy returns, run once with each of these, and what it says it executed."""
    counters = MapDefinition("counters", ARRAY, 4, 8 * count_blocks(program), 1, 0)
    with Loader(Compiled({}, [counters]), {}) as own:
        map_ = own.maps["counters"]
        counting = make_counting(program, map_.fd)
        returned = plain(counting.code, *arguments, maps=maps, constants=constants)
        return returned, counting.executed(dict(map_.items())[bytes(4)])


def plain(
    program: bytes,
    *arguments: tuple[int, ...],
    maps: Sequence[MapDefinition] = (),
    constants: Mapping[int, int] = MappingProxyType({}),
) -> list[int]:
    sizes = {"events": 1 << 16} if maps else {}
    with Loader(Compiled({"run": program}, [*maps]), sizes) as loader:
        runner = Runner(loader.load("run", ProgramType.RAW_TRACEPOINT, constants=constants))
        return [runner(*each) for each in arguments]


def test_straight_line() -> None:
    program = code((0xB7, 0, 0, 5), (0x07, 0, 0, 2), EXIT)  # r0 = 5; r0 += 2; exit
    assert run(program, ()) == ([7], Executed(1, 3, Counter()))


BRANCHES = code(
    (0x79, 0x16, 0, 0),  # r6 = *(u64 *)(r1 + 0)
    (0xB7, 0, 0, 0),  # r0 = 0
    (0x15, 6, 4, 1),  # if r6 == 1 goto the last but one
    (0x18, 0, 0, 9),  # r0 = 9 ll, two slots
    (0, 0, 0, 0),
    (0x85, 0, 0, GET_TIME),
    (0x05, 0, 1, 0),  # goto the last but one's next
    (0xB7, 0, 0, 3),  # r0 = 3
    (0xB7, 0, 0, 4),  # r0 = 4
    EXIT,
)


@pytest.mark.parametrize(
    ("value", "instructions", "calls"), [(1, 6, Counter()), (2, 8, Counter({GET_TIME: 1}))]
)
def test_branches(value: int, instructions: int, calls: Counter[int]) -> None:
    returned, executed = run(BRANCHES, (value,))
    assert returned == plain(BRANCHES, (value,)) == [4]
    assert executed == Executed(1, instructions, +calls)


def test_runs_are_summed_up() -> None:
    _, executed = run(BRANCHES, (1,), (2,), (2,), (1,), (1,))
    assert executed == Executed(5, 3 * 6 + 2 * 8, Counter({GET_TIME: 2}))


def test_a_loop() -> None:
    program = code(
        (0xB7, 0, 0, 0),  # r0 = 0
        (0x07, 0, 0, 3),  # r0 += 3
        (0xA5, 0, -2, 30),  # if r0 < 30 goto the one before
        EXIT,
    )
    assert run(program, ()) == ([30], Executed(1, 1 + 10 * 2 + 1, Counter()))


def test_registers_in_use_stay() -> None:
    """Each register's value is needed in the end: r0 and r1 are the last to be filled."""
    fill = [(0xB7, register, 0, 1 << register) for register in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)]
    add = [(0x0F, register << 4, 0, 0) for register in range(1, 10)]
    program = code(*fill, (0x05, 0, 0, 0), *add, EXIT)  # a jump, so that adding is a block
    assert run(program, ())[0] == [0b1111111111]


# A block of one instruction, before and after which all registers hold what is needed.
ALL_IN_USE = (
    *((0xB7, register, 0, 1 << register) for register in range(10)),
    (0x05, 0, 0, 0),
    (0x15, 9, 0, 0),  # if r9 == 0 goto the next
    *((0x0F, register << 4, 0, 0) for register in range(1, 10)),
    EXIT,
)


def test_values_wait_on_the_stack() -> None:
    returned, executed = run(code(*ALL_IN_USE), ())
    assert (returned, executed.instructions) == ([0b1111111111], len(ALL_IN_USE))


def test_pointers_wait_on_the_stack() -> None:
    """The verifier still knows them for what they are."""
    constants = ((0xB7, register, 0, 1 << register) for register in (0, 2, 3, 4, 5, 6, 7, 8, 9))
    add = ((0x0F, register << 4, 0, 0) for register in (2, 3, 4, 5, 6, 7, 8, 9, 1))
    load: Instruction = (0x79, 0x11, 0, 0)  # r1 = *(u64 *)(r1 + 0), of the program's context
    program = code(*constants, (0x05, 0, 0, 0), (0x15, 9, 0, 0), load, *add, EXIT)
    assert run(program, (2,))[0] == [0b1111111111]


@pytest.mark.parametrize(
    "uses",
    [
        [(0x7A, 10, -504, 1)],  # *(u64 *)(r10 - 504) = 1
        [(0xBF, 0xA1, 0, 0), (0x07, 1, 0, -512)],  # r1 = r10; r1 += -512
        [(0xBF, 0xA1, 0, 0), (0x0F, 0x21, 0, 0)],  # r1 = r10; r1 += r2
    ],
)
def test_stack_is_full(uses: list[Instruction]) -> None:
    message = r"no two registers are free from instruction \d+ to \d+, and the stack is full"
    with pytest.raises(ValueError, match=message):
        make_counting(code(*uses, *ALL_IN_USE), 0)


def test_compiled_program() -> None:
    """Of the compiler's, with loops, byte swaps, atomic operations, 32-bit arithmetic."""
    text = """
#include <uapi/linux/bpf.h>
BPF_ARRAY(sums, u64, 4);
int run(struct bpf_raw_tracepoint_args *ctx)
{
	u64 n = ctx->args[0], sum = 0;
	u32 which = n % 4, i;
	u64 *place;

	for (i = 0; i < 8; i++) {
		if (n & (1 << i))
			sum += __builtin_bswap32(n + i) >> 8;
		else
			sum ^= -n << i;
	}
	place = sums.lookup(&which);
	if (!place)
		return -1;
	__sync_fetch_and_add(place, sum);
	return *place ^ (u32)n;
}
"""
    compiled = compile_text(text, ["run"])
    program, values = compiled.functions["run"], [0, 1, 2, 3, 255, 77, 1 << 31, 12345]
    arguments = [(value,) for value in values]
    returned, executed = run(program, *arguments, maps=compiled.maps)
    assert returned == plain(program, *arguments, maps=compiled.maps)
    assert len({*returned}) > 1
    assert executed.runs == len(values)
    assert executed.calls == {MAP_LOOKUP: len(values)}


def test_own_program() -> None:
    """All of it, which the verifier takes with counters too; without an skb it does little."""
    options = CollectorOptions(frozenset(SkbPart), 255)
    plan = make_plan(PlanOptions(collector_options=options, stack=True), Host(), None)
    compiled = compile_text(plan.program.text, plan.program.functions)
    program = compiled.functions["raw_tracepoint"]
    constants = {PROBE_NUMBER: 0, PROBE_SHAPE: plan.probes[0].shape.number}
    returned, executed = run(program, (0, 0, 0), maps=compiled.maps, constants=constants)
    assert (returned, executed.runs) == ([0], 1)
    assert 0 < executed.instructions < len(program) // 8
