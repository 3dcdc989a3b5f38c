"""Generated filters as native code: gcc's shared object of many, run over many packets at once."""

import ctypes
import subprocess
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from retis_py.filters.libpcap import LIBRARIES, Instruction

#: What the program around a filter provides in the kernel, here over a buffer.
PREAMBLE = """
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
typedef uint8_t u8; typedef uint32_t u32; typedef uint64_t u64;
struct packet_view { const u8 *start; u32 linear; u32 len; };
static bool packet_byte(struct packet_view *p, u32 at, u32 *value)
{
	if ((u64)at + 1 > p->linear) return false;
	*value = p->start[at];
	return true;
}
static bool packet_half(struct packet_view *p, u32 at, u32 *value)
{
	if ((u64)at + 2 > p->linear) return false;
	*value = p->start[at] << 8 | p->start[at + 1];
	return true;
}
static bool packet_word(struct packet_view *p, u32 at, u32 *value)
{
	if ((u64)at + 4 > p->linear) return false;
	u32 high, low;
	packet_half(p, at, &high);
	packet_half(p, at + 2, &low);
	*value = high << 16 | low;
	return true;
}
"""
#: Runs ``filters[i]`` over all packets, and libpcap's interpreter over the same.
LOOPS = """
typedef u32 interpreter(const void *, const u8 *, u32, u32);
void run(u32 i, const u8 *bytes, const u32 *at, const u32 *caplen, const u32 *len, u32 n, u8 *out)
{
	for (u32 j = 0; j < n; j++) {
		struct packet_view p = { bytes + at[j], caplen[j], len[j] };
		out[j] = filters[i](&p);
	}
}
void interpret(interpreter *f, const void *program, const u8 *bytes, const u32 *at,
		const u32 *caplen, const u32 *len, u32 n, u8 *out)
{
	for (u32 j = 0; j < n; j++)
		out[j] = !!f(program, bytes + at[j], len[j], caplen[j]);
}
"""


class Packets:
    """Packets in one buffer: (bytes captured, length on the wire)."""

    def __init__(self, packets: Sequence[tuple[bytes, int]]) -> None:
        array = ctypes.c_uint32 * len(packets)
        self.packets = packets
        self.count = len(packets)
        self.bytes = b"".join(data for data, _ in packets)
        sizes = [len(data) for data, _ in packets]
        self.at = array(*accumulate(sizes[:-1], initial=0)) if packets else array()
        self.caplen = array(*sizes)
        self.len = array(*(length for _, length in packets))

    def arguments(self) -> tuple[object, ...]:
        return self.bytes, self.at, self.caplen, self.len, self.count


class _Insn(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class Verdicts(NamedTuple):
    ours: bytes
    libpcaps: bytes


class NativeFilters:
    """Functions ``f0``, ``f1``, ... of the texts, compiled by gcc."""

    def __init__(self, folder: Path, texts: Sequence[str], optimise: str = "-O1") -> None:
        table = ", ".join(f"f{i}" for i in range(len(texts)))
        source = folder / "filters.c"
        source.write_text(
            PREAMBLE
            + "".join(texts)
            + f"static bool (*const filters[])(struct packet_view *) = {{ {table} }};\n"
            + LOOPS
        )
        target = folder / "filters.so"
        command = ["gcc", optimise, "-w", "-shared", "-fPIC", "-o", str(target), str(source)]
        subprocess.run(command, check=True)
        self._lib = ctypes.CDLL(str(target))
        self._interpreter = libpcap().bpf_filter

    def verdicts(self, index: int, program: Sequence[Instruction], packets: Packets) -> Verdicts:
        ours = ctypes.create_string_buffer(packets.count)
        theirs = ctypes.create_string_buffer(packets.count)
        self._lib.run(index, *packets.arguments(), ours)
        array = (_Insn * len(program))(*program)
        self._lib.interpret(self._interpreter, array, *packets.arguments(), theirs)
        return Verdicts(ours.raw, theirs.raw)


def interpret(program: Sequence[Instruction], packets: Packets) -> list[int]:
    """libpcap's verdicts, packet by packet."""
    array = (_Insn * len(program))(*program)
    bpf_filter = libpcap().bpf_filter
    return [int(bpf_filter(array, d, length, len(d)) != 0) for d, length in packets.packets]


def libpcap() -> ctypes.CDLL:
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise AssertionError("no libpcap")
