"""What a filter costs each packet that it does not want, in the kernel's own statistics.

Beside the filter: collecting without one, a filter that matches, and a packet socket with the same
expression. bench/programs.py says how it is measured.

The kernel counts no classic filters (SO_ATTACH_FILTER). The packet socket's is therefore loaded as
eBPF, much as the kernel translates it itself (net/core/filter.c, bpf_convert_filter): tcpdump's
instructions one by one, packet loads as BPF_LD_ABS and BPF_LD_IND, which become the same code; a
comparison takes one jump more.

    .venv/bin/python bench/filter.py [--runs 5] [--packets 50000] [--json FILE]
"""

import argparse
import ctypes
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from programs import (
    NAMESPACE,
    Count,
    bursts,
    collecting,
    counts,
    measure,
    namespace,
    parse_arguments,
    statistics,
)
from report import Report, Row

EXPRESSION = "tcp port 80"
MODES = {
    "no filter: an event each": (),
    f"-f '{EXPRESSION}', no match": ("-f", EXPRESSION),
    "-m 'sk_buff.mark == 4711', no match": ("-m", "sk_buff.mark == 4711"),
    "-f 'udp port 9', match: an event each": ("-f", "udp port 9"),
}

_SO_ATTACH_BPF = 50
_SOCKET_FILTER = 1  # BPF_PROG_TYPE_SOCKET_FILTER


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse_arguments("Measure the cost of filters.")
    report = Report("filter")
    with namespace(), statistics():
        for name, arguments in MODES.items():
            with collecting(arguments) as process:
                own, all_of_it = measure(process.pid, options)
            report.rows.append(Row(name, "ns", own))
            report.rows.append(Row("  with the core's own programs", "ns", all_of_it))
        with _packet_socket(EXPRESSION) as read:
            report.rows.append(
                Row(f"packet socket, '{EXPRESSION}'", "ns", _socket_times(read, options))
            )
    return report.finish(options.json)


def _socket_times(read: Callable[[], Count], options: argparse.Namespace) -> list[float]:
    return [spent[0].time / spent[0].runs for spent in bursts(lambda: {0: read()}, options)]


# A packet socket


@contextmanager
def _packet_socket(expression: str) -> Iterator[Callable[[], Count]]:
    """Open a packet socket with the filter on the namespace's loopback; give its counters."""
    with ExitStack() as stack:
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        stack.callback(os.close, here)
        there = os.open(f"/run/netns/{NAMESPACE}", os.O_RDONLY)
        stack.callback(os.close, there)
        _enter(there)
        try:
            listener = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        finally:
            _enter(here)
        program = _load(_translate(_classic(expression)))
        stack.callback(os.close, program)
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)
        listener.bind(("lo", 3))  # ETH_P_ALL
        number = int(re.findall(r"prog_id:\s*(\d+)", _own_info(program))[0])
        yield lambda: counts(os.getpid())[number]


def _own_info(descriptor: int) -> str:
    return Path(f"/proc/self/fdinfo/{descriptor}").read_text()


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0):
        raise OSError(ctypes.get_errno(), "setns")


def _classic(expression: str) -> list[tuple[int, int, int, int]]:
    """Compile by libpcap, for Ethernet headers: code, jt, jf and k of each instruction."""
    command = ["tcpdump", "-y", "EN10MB", "-ddd", expression]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [tuple(map(int, line.split())) for line in shown.splitlines()[1:]]  # type: ignore[misc]


# eBPF registers: A is r0, where packet loads put their value; the skb must be in r6.
_A, _CONTEXT, _X = 0, 6, 7
_LOAD_ABSOLUTE, _LOAD_INDEXED = (0x28, 0x30, 0x20), (0x48, 0x50, 0x40)  # half, byte, word
_JEQ, _JGT, _JGE, _JSET = 0x15, 0x25, 0x35, 0x45
_MSH, _RETURN = 0xB1, 0x06


def _translate(classic: list[tuple[int, int, int, int]]) -> list[bytes]:
    """Translate to eBPF: those instructions that this expression is made of."""
    blocks = [_block(*each) for each in classic]
    sizes = [
        len(block) + 2 * (each[0] in _JUMPS) for block, each in zip(blocks, classic, strict=True)
    ]
    starts = [1 + sum(sizes[:at]) for at in range(len(sizes))]
    program = [_instruction(0xBF, _CONTEXT, 1)]  # r6 = the context
    for at, (block, (code, if_true, if_false, k)) in enumerate(zip(blocks, classic, strict=True)):
        program += block
        if code in _JUMPS:
            end = starts[at] + sizes[at]
            to_true, to_false = starts[at + 1 + if_true] - end, starts[at + 1 + if_false] - end
            program.append(_instruction(code, _A, 0, to_true + 1, k))
            program.append(_instruction(0x05, offset=to_false))
    return program


_JUMPS = (_JEQ, _JGT, _JGE, _JSET)


def _block(code: int, _if_true: int, _if_false: int, k: int) -> list[bytes]:
    if code in _JUMPS:
        return []
    if code in _LOAD_ABSOLUTE:
        return [_instruction(code, immediate=k)]
    if code in _LOAD_INDEXED:
        return [_instruction(code, 0, _X, immediate=k)]
    if code == _MSH:  # X = 4 * (the byte & 0xf); A is not needed behind it in what tcpdump makes
        return [
            _instruction(0x30, immediate=k),
            _instruction(0x57, _A, immediate=0xF),
            _instruction(0x67, _A, immediate=2),
            _instruction(0xBF, _X, _A),
        ]
    if code == _RETURN:
        return [_instruction(0xB7, _A, immediate=k), _instruction(0x95)]
    sys.exit(f"filter: no translation for the classic instruction {code:#x}")


def _instruction(
    code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0
) -> bytes:
    return struct.pack("=BBhI", code, destination | source << 4, offset, immediate & 0xFFFFFFFF)


def _load(program: list[bytes]) -> int:
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    text = b"".join(program)
    descriptor = libbpf.bpf_prog_load(
        _SOCKET_FILTER, b"bench_filter", b"GPL", text, ctypes.c_size_t(len(program)), None
    )
    if descriptor < 0:
        sys.exit(f"filter: the kernel refuses the socket filter: {os.strerror(-descriptor)}")
    return int(descriptor)


if __name__ == "__main__":
    sys.exit(main())
