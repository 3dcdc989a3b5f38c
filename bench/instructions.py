"""How many of its instructions a BPF program executes: counted by the program itself.

The kernel's statistics know times and no instructions, and a virtual machine often has no hardware
counters. So a copy of the program is loaded that counts: wherever a block of instructions is
entered, which is always executed to its end, a counter of the block is raised. The copy does what
the program does, in the same places. For its counting it uses registers whose values nobody reads
any more; where a block has no two such, values are put on the stack meanwhile, whose end (the
verifier allows 512 bytes) few programs reach.

What is counted are the instructions as compiled. Those behind a helper's call are not, calls are
counted beside. The kernel's verifier leaves out comparisons whose outcome it knows at loading time;
these are counted.
"""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

_SIZE = 8  # bytes of an instruction
_FORMAT = struct.Struct("=BBhi")
_REGISTERS = range(10)  # r10 is the frame pointer
_SCRATCH = 0b111111  # r0 to r5, which a call destroys

_LD_IMM64, _CALL, _EXIT, _JA = 0x18, 0x85, 0x95, 0x05
_MOV64_IMMEDIATE, _MOV64, _ADD64_IMMEDIATE = 0xB7, 0xBF, 0x07
_LOAD64, _STORE64, _ATOMIC_ADD = 0x79, 0x7B, 0xDB
_FRAME = 10  # the register that points behind the stack
_STACK_END = -512  # MAX_BPF_STACK (include/linux/filter.h)
_KEPT = (_STACK_END, _STACK_END + 8)  # where values are kept while their registers count
_PSEUDO_MAP_VALUE = 2
_CMPXCHG = 0xF1


class _Instruction(NamedTuple):
    """One as in struct bpf_insn; ``immediate`` of the two slots of a 64-bit load is the first's."""

    code: int
    registers: int
    offset: int
    immediate: int

    @property
    def destination(self) -> int:
        return 1 << (self.registers & 0xF)

    @property
    def source(self) -> int:
        return 1 << (self.registers >> 4)

    @property
    def has_source(self) -> bool:
        """Whether an operation or a comparison is one with a register (BPF_X)."""
        return bool(self.code & 0x08)

    @property
    def jumps(self) -> bool:
        return self.code & 7 in (5, 6) and self.code not in (_CALL, _EXIT)

    @property
    def goes_on(self) -> bool:
        """Whether the next instruction may be executed after it."""
        return self.code not in (_EXIT, _JA)


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions that are executed all or none, and the helpers called among them by number."""

    size: int
    calls: Counter[int]


@dataclass(frozen=True, slots=True)
class CountingProgram:
    """A program that counts; a counter (u64) of each block stands in the map's only value."""

    code: bytes
    blocks: Sequence[Block]

    def executed(self, counters: bytes) -> "Executed":
        """Return what the counters say."""
        runs = struct.unpack(f"={len(self.blocks)}Q", counters)
        calls: Counter[int] = Counter()
        for count, block in zip(runs, self.blocks, strict=True):
            for helper, times in block.calls.items():
                calls[helper] += times * count
        total = sum(count * block.size for count, block in zip(runs, self.blocks, strict=True))
        return Executed(runs[0], total, calls)


class Executed(NamedTuple):
    """Runs of a program, the instructions executed in them, and the helpers called by number."""

    runs: int
    instructions: int
    calls: Counter[int]


def count_blocks(code: bytes) -> int:
    """Return how many counters a program takes."""
    return len(_starts(_read(code)))


def make_counting(code: bytes, counters: int) -> CountingProgram:
    """Return the program with counters, which are in the map with the descriptor ``counters``.

    Raises:
        ValueError: there is a block in which no two registers are free, nor a place on the stack.
    """
    program = _read(code)
    live = _live(program)
    starts = _starts(program)
    places, blocks = {}, []
    for number, (start, end) in enumerate(pairwise([*starts, max(program) + 1])):
        inside = [at for at in range(start, end) if at in program]
        place = max(inside, key=lambda at: min(len(_free(live[at])), 2))
        free = _free(live[place])
        if len(free) < 2 and _deepest(program) < _KEPT[-1] + 8:
            raise ValueError(
                f"no two registers are free from instruction {inside[0]} to {inside[-1]}, "
                "and the stack is full"
            )
        places[place] = _counting(number, counters, free)
        calls = Counter(program[at].immediate for at in inside if program[at].code == _CALL)
        blocks.append(Block(len(inside), calls))
    return CountingProgram(_write(code, program, places), blocks)


def _read(code: bytes) -> dict[int, _Instruction]:
    """Return instructions by the slot that they begin in."""
    program, at = {}, 0
    while at * _SIZE < len(code):
        program[at] = _Instruction(*_FORMAT.unpack_from(code, at * _SIZE))
        at += 2 if program[at].code == _LD_IMM64 else 1
    return program


def _starts(program: dict[int, _Instruction]) -> list[int]:
    """Return where blocks begin: at the start, where jumps lead, behind them."""
    found = {0}
    for at, instruction in program.items():
        if instruction.jumps:
            found.add(at + 1 + instruction.offset)
        if instruction.jumps or instruction.code == _EXIT:
            found.add(at + 1)
    return sorted(found & program.keys())


def _live(program: dict[int, _Instruction]) -> dict[int, int]:
    """Return which registers (bits) hold something that is read later, before each instruction."""
    live = dict.fromkeys(program, 0)
    changed = True
    while changed:  # more than once only where the program jumps back
        changed = False
        for at in reversed(program):
            instruction = program[at]
            after = 0
            if instruction.goes_on:
                after |= live.get(at + (2 if instruction.code == _LD_IMM64 else 1), 0)
            if instruction.jumps:
                after |= live[at + 1 + instruction.offset]
            read, written = _registers(instruction)
            before = read | after & ~written
            changed |= before != live[at]
            live[at] = before
    return live


def _registers(instruction: _Instruction) -> tuple[int, int]:  # noqa: PLR0911 (a class each)
    """Return which registers are read and which are written (bits)."""
    code, to, source = instruction.code, instruction.destination, instruction.source
    match code & 7:
        case 0:  # BPF_LD: 64-bit loads, which are all that tracing programs have of it
            return 0, to
        case 1:  # BPF_LDX
            return source, to
        case 2:  # BPF_ST
            return to, 0
        case 3:  # BPF_STX; an atomic one may give back what was there
            r0 = int(instruction.immediate == _CMPXCHG and code & 0xE0 == 0xC0)
            return to | source | r0, r0
        case 4 | 7:  # BPF_ALU, BPF_ALU64
            read = source if instruction.has_source and code & 0xF0 != 0xD0 else 0  # BPF_END
            return (read if code & 0xF0 == 0xB0 else read | to), to  # BPF_MOV
    if code == _CALL:
        return _SCRATCH & ~1, _SCRATCH
    if code == _EXIT:
        return 1, 0
    if code == _JA:
        return 0, 0
    return (to | source if instruction.has_source else to), 0


def _free(live: int) -> list[int]:
    """Return the numbers of registers that hold nothing which is read later."""
    return [number for number in _REGISTERS if not live & 1 << number]


def _deepest(program: dict[int, _Instruction]) -> int:
    """Return the lowest offset from the frame pointer that the program may use."""
    frame = 1 << _FRAME
    found = [0]
    for at, instruction in program.items():
        code, offset = instruction.code, instruction.offset
        loads, stores = code & 7 == 1, code & 7 in (2, 3)
        if (loads and instruction.source == frame) or (stores and instruction.destination == frame):
            found.append(offset)
        elif code == _MOV64 and instruction.source == frame:
            following = program[at + 1]
            if following.code != _ADD64_IMMEDIATE:
                return _STACK_END  # the compiler knows offsets; whatever this is may be anywhere
            found.append(following.immediate)
    return min(found)


def _counting(number: int, counters: int, free: list[int]) -> bytes:
    """Return the instructions that raise a counter by one."""
    taken = [register for register in _REGISTERS if register not in free][: 2 - min(len(free), 2)]
    address, one = [*free, *taken][:2]
    kept = list(zip(taken, _KEPT, strict=False))
    return b"".join(
        (
            *(_FORMAT.pack(_STORE64, _FRAME | each << 4, at, 0) for each, at in kept),
            _FORMAT.pack(_LD_IMM64, address | _PSEUDO_MAP_VALUE << 4, 0, counters),
            _FORMAT.pack(0, 0, 0, number * 8),
            _FORMAT.pack(_MOV64_IMMEDIATE, one, 0, 1),
            _FORMAT.pack(_ATOMIC_ADD, address | one << 4, 0, 0),
            *(_FORMAT.pack(_LOAD64, each | _FRAME << 4, at, 0) for each, at in kept),
        )
    )


def _write(code: bytes, program: dict[int, _Instruction], places: dict[int, bytes]) -> bytes:
    """Put the instructions in and lead jumps to where their targets are now."""
    moved, added = {}, 0  # where what comes before an instruction begins
    for at in program:
        moved[at] = at + added
        added += len(places.get(at, b"")) // _SIZE
    written = bytearray()
    for at, instruction in program.items():
        written += places.get(at, b"")
        here = len(written) // _SIZE
        if instruction.jumps:
            target = moved[at + 1 + instruction.offset]
            written += _FORMAT.pack(*instruction._replace(offset=target - here - 1))
        else:
            slots = 2 if instruction.code == _LD_IMM64 else 1
            written += code[at * _SIZE : (at + slots) * _SIZE]
    return bytes(written)
