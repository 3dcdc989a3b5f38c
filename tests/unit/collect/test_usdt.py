"""Arguments of USDT probes, read in this kernel out of a program that runs."""

import platform
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect.compiler import Compiled
from retis_py.collect.loader import Loader, ProgramType
from retis_py.kernel.usdt import UsdtProbe, read_probes
from retis_py.kernel.usdt_arguments import Constant, Memory, Register, UsdtArgument
from retis_py.resources import bpf_dir
from unit.collect.running import compile_text

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="has x86-64's registers")

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

# Values are where the operands say; what they are there is the program's own doing. A semaphore
# counts whether anybody listens: the program waits for it.
SOURCE = r"""
#include <stdint.h>
#include <unistd.h>
#define NOTE(name, arguments) \
    "990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n" \
    ".4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n992: .balign 4\n" \
    "993: .8byte 990b, 0, semaphore\n.asciz \"test\"\n.asciz \"" name "\"\n" \
    ".asciz \"" arguments "\"\n994: .balign 4\n.popsection\n"
volatile uint16_t semaphore __attribute__((section(".probes")));
uint64_t data[4] = {0x1111111111111111, 0xfedcba9876543210, 0x8000000080000000, 7};
int main(void)
{
    char go;
    while (read(0, &go, 1) == 1) {
        uint64_t *base = data;
        __asm__ volatile (
            "mov $-2, %%rcx\nmov $2, %%rdx\nmov $0x1234567890abcdef, %%r9\nmov $8, %%r10\n"
            NOTE("registers", "8@%%rcx -4@%%ecx 4@%%ecx 1@%%r9b -1@%%r9b 2@%%r9w -8@%%r9")
            NOTE("memory", "8@(%%rax) 8@8(%%rax) -1@15(%%rax) 4@8(%%rax) -4@(%%rax,%%rdx,8)"
                           " 8@8(%%rax,%%rdx,8) -2@-2(%%rax,%%rdx,8) 8@(%%r10)")
            NOTE("constants", "4@$7 -4@$-1 4@$-1 8@$0x10 8f@%%xmm0")
            :: "a" (base) : "rcx", "rdx", "r9", "r10", "memory");
        go = semaphore ? '1' : '0';
        if (write(1, &go, 1) != 1)
            return 1;
    }
    return 0;
}
"""

EXPECTED = {
    "registers": [
        2**64 - 2,
        2**64 - 2,
        2**32 - 2,
        0xEF,
        2**64 - 0x11,
        0xCDEF,
        0x1234567890ABCDEF,
    ],
    "memory": [
        0x1111111111111111,
        0xFEDCBA9876543210,
        2**64 - 2,
        0x76543210,
        2**64 - 2**31,
        7,
        2**64 - 0x124,
        None,  # nothing is at address 8
    ],
    "constants": [7, 2**64 - 1, 2**32 - 1, 16],
}


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    require("root")
    place = f"#define PLACE {PLACE:#x}ULL\n"
    text = place + (bpf_dir() / "core/usdt.h").read_text() + PROGRAM
    return compile_text(text, ["read_argument"])


@pytest.fixture
def loader(compiled: Compiled, open_descriptors: None) -> Iterator[Loader]:
    with Loader(compiled, {}) as loader:
        yield loader


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("usdt") / "program"
    source = path.with_suffix(".c")
    source.write_text(SOURCE)
    # Not position independent: the note has the semaphore's address without a relocation.
    subprocess.run(["gcc", "-O1", "-no-pie", "-o", str(path), str(source)], check=True)
    return path


@pytest.fixture
def running(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([str(program)], **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def pass_probes(process: subprocess.Popen[bytes]) -> bool:
    """Have the program pass its probes once, and say whether it knew that somebody listens."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"x")
    process.stdin.flush()
    return process.stdout.read(1) == b"1"


def attach(loader: Loader, path: Path, probe: UsdtProbe, argument: UsdtArgument) -> None:
    fd = loader.load("read_argument", ProgramType.KPROBE, constants={PLACE: argument.number})
    loader.attach_uprobe(fd, path, probe.offset, probe.semaphore)


def found(loader: Loader, argument: UsdtArgument) -> int | None:
    values = dict(loader.maps["arguments"].items())
    key = (argument.number >> 32 ^ argument.number) & 0xFFFFFFFF
    count, value = struct.unpack("=QQ", values[struct.pack("=I", key)])
    return value if count == 2 else None


@pytest.mark.parametrize("name", EXPECTED)
def test_arguments(
    name: str, loader: Loader, program: Path, running: subprocess.Popen[bytes]
) -> None:
    [probe] = [probe for probe in read_probes(program) if probe.name == name]
    arguments = [argument for argument in probe.arguments if argument]
    for argument in arguments:
        # By what the process runs, wherever its file is.
        attach(loader, Path(f"/proc/{running.pid}/exe"), probe, argument)
    assert pass_probes(running)
    assert [found(loader, argument) for argument in arguments] == EXPECTED[name]


def test_the_program_knows_whether_somebody_listens(
    loader: Loader, program: Path, running: subprocess.Popen[bytes]
) -> None:
    [probe] = [probe for probe in read_probes(program) if probe.name == "constants"]
    assert probe.arguments[0]
    assert not pass_probes(running)
    attach(loader, program, probe, probe.arguments[0])
    assert pass_probes(running)
    loader.detach()
    assert not pass_probes(running)


def test_a_program_that_starts_later_is_probed(loader: Loader, program: Path) -> None:
    probe = read_probes(program)[0]
    argument = probe.arguments[0]
    assert argument
    attach(loader, program, probe, argument)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([str(program)], **pipes) as process:
        pass_probes(process)
        process.kill()
    assert found(loader, argument) == EXPECTED["registers"][0]


@pytest.mark.usefixtures("open_descriptors")
def test_a_file_that_is_not_there(loader: Loader, tmp_path: Path) -> None:
    argument = UsdtArgument(8, False, Register(0))
    fd = loader.load("read_argument", ProgramType.KPROBE, constants={PLACE: argument.number})
    with pytest.raises(FileNotFoundError):
        loader.attach_uprobe(fd, tmp_path / "none", 0)
    loader.detach()


def test_numbers_are_told_apart() -> None:
    places = [
        Constant(0),
        Constant(-1),
        Register(0),
        Register(31),
        Memory(0, 0),
        Memory(0, -1),
        Memory(0, 0, 0),
        Memory(0, 0, 0, 8),
    ]
    numbers = {
        UsdtArgument(size, signed, place).number
        for size in (1, 2, 4, 8)
        for signed in (False, True)
        for place in places
    }
    assert len(numbers) == 8 * len(places)
    assert 0 not in numbers
    assert all(0 < number < 2**64 for number in numbers)
