"""A stand-in for ovs-vswitchd: passes the daemon's USDT probes when it is told to.

It is a process with probes of those names, for kernels without Open vSwitch. What is in its memory,
and in which order it does what, is the test's choice.
"""

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = f"vswitchd-{os.getpid()}"
"""Its name: not the daemon's, of which one may be running here."""

# Registers are where the notes say; the probe is a nop.
SOURCE = r"""
#include <stdint.h>
#include <unistd.h>
#define NOTE(provider, name, arguments) \
    "990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n" \
    ".4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n992: .balign 4\n" \
    "993: .8byte 990b, 0, 0\n.asciz \"" provider "\"\n.asciz \"" name "\"\n" \
    ".asciz \"" arguments "\"\n994: .balign 4\n.popsection\n"
struct command { uint64_t what, a, b, c, d, e; };
static char memory[1 << 20];
struct flow_put { int flags; void *key; uint64_t key_size; };
static int get(void *to, uint64_t size)
{
    for (uint64_t had = 0; had < size;) {
        ssize_t n = read(0, (char *)to + had, size - had);
        if (n <= 0)
            return 0;
        had += n;
    }
    return 1;
}
int main(void)
{
    struct command c;
    while (get(&c, sizeof(c))) {
        if (c.what == 'm') {
            if (!get(memory + c.a, c.b))
                return 1;
        } else if (c.what == 'r') {
            __asm__ volatile (
                NOTE("dpif_recv", "recv_upcall",
                     "8@%%rax -4@%%ebx 8@%%rcx 4@%%edx 8@%%rsi 8@%%rdi")
                :: "a" (0), "b" (c.a), "c" (memory + c.b), "d" (c.c), "S" (memory + c.d), "D" (c.e)
                : "memory");
        } else if (c.what == 'p') {
            volatile struct flow_put put = { 1, memory + c.a, c.b };
            __asm__ volatile (
                NOTE("dpif_netlink_operate__", "op_flow_put", "8@%%rax 8@%%rbx 8@%%rax 8@%%rax")
                :: "a" (0), "b" (&put) : "memory");
        } else if (c.what == 'e') {
            __asm__ volatile (
                NOTE("dpif_netlink_operate__", "op_flow_execute",
                     "8@%%rax 8@%%rax 8@%%rcx 4@%%edx 8@%%rax")
                :: "a" (0), "c" (memory + c.a), "d" (c.b) : "memory");
        }
        if (write(1, "", 1) != 1)
            return 1;
    }
    return 0;
}
"""


def build(folder: Path, *, probes: bool = True) -> Path:
    """Compile it; without ``probes`` it has no notes."""
    source, path = folder / "daemon.c", folder / PROGRAM
    idle = "int main(void) { char c; return read(0, &c, 1) < 0; }"
    source.write_text(SOURCE if probes else idle)
    # Not position independent: notes have addresses without relocations.
    subprocess.run(["gcc", "-O1", "-w", "-no-pie", "-o", str(path), str(source)], check=True)
    return path


class Daemon:
    """A stand-in that runs; places are offsets in its memory."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def write(self, place: int, data: bytes) -> None:
        """Put something into its memory."""
        self._do("m", place, len(data), data=data)

    def receive(self, kind: int, place: int, size: int, key: int, key_size: int) -> None:
        """Pass ``dpif_recv:recv_upcall``."""
        self._do("r", kind, place, size, key, key_size)

    def put(self, key: int, key_size: int) -> None:
        """Pass ``dpif_netlink_operate__:op_flow_put``."""
        self._do("p", key, key_size)

    def execute(self, place: int, size: int) -> None:
        """Pass ``dpif_netlink_operate__:op_flow_execute``."""
        self._do("e", place, size)

    def _do(self, what: str, *arguments: int, data: bytes = b"") -> None:
        assert self._process.stdin
        assert self._process.stdout
        numbers = (*arguments, 0, 0, 0, 0, 0)[:5]
        self._process.stdin.write(struct.pack("=6Q", ord(what), *numbers) + data)
        self._process.stdin.flush()
        assert self._process.stdout.read(1)


@contextmanager
def running(path: Path) -> Iterator[Daemon]:
    """Start it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([str(path)], **pipes) as process:  # type: ignore[call-overload]
        try:
            yield Daemon(process)
        finally:
            process.kill()
