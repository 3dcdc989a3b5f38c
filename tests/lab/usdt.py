"""Reads arguments of USDT probes of programs that run, as bpf/core/usdt.h does it for retis."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retis_py.collect.compiled import Compiled
from retis_py.collect.compiler import Compiler
from retis_py.collect.loader import Loader, ProgramType
from retis_py.kernel.usdt import UsdtProbe
from retis_py.kernel.usdt_arguments import UsdtArgument
from retis_py.resources import bpf_dir

PLACE = 0x7465_7374_0000_0001

PROGRAM = """
#define LOADED_CONSTANT(name, placeholder) \\
	volatile u64 name##_placed = placeholder; \\
	u64 name = name##_placed

struct argument { u64 found, value; };
BPF_HASH(arguments, u32, struct argument, 64);

int read_argument(struct pt_regs *ctx)
{
	LOADED_CONSTANT(place, PLACE);
	struct argument argument = {};
	u32 key = place >> 32 ^ place;

	argument.found = 1 + usdt_argument(ctx, place, &argument.value);
	arguments.update(&key, &argument);
	return 0;
}
"""


def compile_reader() -> Compiled:
    """The program; takes seconds under emulated CPUs."""
    place = f"#define PLACE {PLACE:#x}ULL\n"
    text = place + (bpf_dir() / "core/usdt.h").read_text() + PROGRAM
    with Compiler() as compiler:
        return compiler.compile(text, ["read_argument"])


class ArgumentReader:
    """Keeps the last value of each argument that it was attached for."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def attach(self, path: Path, probe: UsdtProbe, argument: UsdtArgument) -> None:
        constants = {PLACE: argument.number}
        fd = self._loader.load("read_argument", ProgramType.KPROBE, constants=constants)
        self._loader.attach_uprobe(fd, path, probe.offset, probe.semaphore)

    def detach(self) -> None:
        self._loader.detach()

    def value(self, argument: UsdtArgument) -> int | None:
        """None where the probe was hit, but its argument could not be read."""
        values = dict(self._loader.maps["arguments"].items())
        key = (argument.number >> 32 ^ argument.number) & 0xFFFFFFFF
        count, value = struct.unpack("=QQ", values[struct.pack("=I", key)])
        return value if count == 2 else None


@contextmanager
def argument_reader(compiled: Compiled) -> Iterator[ArgumentReader]:
    """A reader that is attached to nothing yet."""
    with Loader(compiled, {}) as loader:
        yield ArgumentReader(loader)
