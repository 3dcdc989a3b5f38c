"""What metadata expressions are worth, by Python, over the bytes of a memory.

Written apart from retis_py.filters: expressions are trees that were never parsed, and values are
taken out of bytes with Python's integers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne

MEMORY_BASE = 0xFFFF_8880_0010_0000
MEMORY_SIZE = 16384
ALL = (1 << 64) - 1

OPERATORS: dict[str, Callable[[object, object], bool]] = {
    "==": eq,
    "!=": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}


class Memory:
    """Bytes at an address of the kernel's; everything around them faults."""

    def __init__(self, data: bytearray) -> None:
        assert len(data) == MEMORY_SIZE
        self.data = data

    def read(self, address: int, size: int) -> bytes | None:
        at = address - MEMORY_BASE
        return bytes(self.data[at : at + size]) if 0 <= at <= MEMORY_SIZE - size else None

    def write(self, address: int, data: bytes) -> None:
        at = address - MEMORY_BASE
        if 0 <= at <= MEMORY_SIZE - len(data):
            self.data[at : at + len(data)] = data

    def string(self, address: int) -> bytes | None:
        """What is there up to a NUL; None where memory ends before one is found."""
        at = address - MEMORY_BASE
        end = self.data.find(0, at) if 0 <= at < MEMORY_SIZE else -1
        return bytes(self.data[at:end]) if end >= 0 else None


@dataclass(frozen=True)
class Comparison:
    """``hops`` are offsets and masks of pointers; ``offset`` is of the value behind them."""

    text: str
    hops: tuple[tuple[int, int], ...]
    offset: int  # bytes
    operator: str
    number: "NumberSpec | None"
    value: int | bytes
    array: int | None = None  # a string's capacity, 0 for a flexible one; None for a pointer's

    def address(self, memory: Memory, skb: int) -> int | None:
        at = skb
        for offset, mask in self.hops:
            data = memory.read((at + offset) & ALL, 8)
            if data is None or not (at := int.from_bytes(data, "little") & mask):
                return None
        return (at + self.offset) & ALL

    def evaluate(self, memory: Memory, skb: int) -> bool:
        at = self.address(memory, skb)
        actual = None if at is None else self._actual(memory, at)
        return actual is not None and OPERATORS[self.operator](actual, self.value)

    def _actual(self, memory: Memory, at: int) -> int | bytes | None:
        if self.number is not None:
            return self.number.read(memory, at)
        assert isinstance(self.value, bytes)
        if self.array is None:
            pointer = memory.read(at, 8)
            address = int.from_bytes(pointer or b"", "little")
            # It must be readable up to its NUL, or two bytes beyond what it is compared with.
            cut = memory.read(address, len(self.value) + 2)
            if cut is not None and 0 not in cut:
                return cut
            return memory.string(address) if address else None
        size = len(self.value) + 1
        data = memory.read(at, min(size, self.array) if self.array else size)
        return None if data is None else data.split(b"\0")[0]


@dataclass(frozen=True)
class NumberSpec:
    bit: int  # its first bit's position in the first byte
    bits: int
    signed: bool
    mask: int | None

    def read(self, memory: Memory, at: int) -> int | None:
        data = memory.read(at, -(-(self.bit + self.bits) // 8))
        if data is None:
            return None
        value = int.from_bytes(data, "little") >> self.bit & (1 << self.bits) - 1
        if self.mask is not None:
            return value & self.mask
        negative = self.signed and value >> (self.bits - 1)
        return value - (1 << self.bits) if negative else value

    def write(self, memory: Memory, at: int, value: int) -> None:
        size = -(-(self.bit + self.bits) // 8)
        data = memory.read(at, size)
        if data is not None:
            field = (1 << self.bits) - 1
            rest = int.from_bytes(data, "little") & ~(field << self.bit)
            memory.write(at, (rest | (value & field) << self.bit).to_bytes(size, "little"))


@dataclass(frozen=True)
class Joined:
    """Operands joined from left to right; ``joiners`` has one fewer."""

    operands: tuple["Comparison | Joined", ...]
    joiners: tuple[str, ...]
    text: str

    def evaluate(self, memory: Memory, skb: int) -> bool:
        value = self.operands[0].evaluate(memory, skb)
        for joiner, operand in zip(self.joiners, self.operands[1:], strict=True):
            right = operand.evaluate(memory, skb)
            value = (value and right) if joiner in ("&&", "and") else (value or right)
        return value


def comparisons(tree: Comparison | Joined) -> Iterator[Comparison]:
    if isinstance(tree, Comparison):
        yield tree
        return
    for operand in tree.operands:
        yield from comparisons(operand)
