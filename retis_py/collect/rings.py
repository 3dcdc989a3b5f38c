"""How many rings there are, and how large each is, for the memory that was asked for."""

import mmap
from typing import NamedTuple

_MOST = 8
# A burst on one CPU has only one ring: below this (bytes) a buffer is not split.
_LEAST_EACH = 1 << 20


class Rings(NamedTuple):
    """``number`` rings, a power of two, of ``size`` bytes each, a power of two and whole pages."""

    number: int
    size: int

    @property
    def total(self) -> int:
        """Bytes of all together."""
        return self.number * self.size


def choose_rings(asked: int, cpus: int) -> Rings:
    """Return the rings for ``asked`` bytes, never more than that but one page at least.

    A ring's size is a power of two (kernel/bpf/ringbuf.c), and all are of one size: of what is no
    power of two the next smaller one is used.
    """
    total = max(mmap.PAGESIZE, 1 << asked.bit_length() - 1)
    count = min(_MOST, 1 << cpus.bit_length() - 1, max(1, total // _LEAST_EACH))
    return Rings(count, total // count)
