"""Arguments of USDT probes, read in this kernel out of a program that runs."""

import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.capabilities import require
from lab.usdt import ArgumentReader, argument_reader, compile_reader
from retis_py.collect.compiled import Compiled
from retis_py.kernel.usdt import UsdtProbe, read_probes
from retis_py.kernel.usdt_arguments import Constant, Memory, Register, UsdtArgument

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="has x86-64's registers")

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
    return compile_reader()


@pytest.fixture
def reader(compiled: Compiled, open_descriptors: None) -> Iterator[ArgumentReader]:
    with argument_reader(compiled) as reader:
        yield reader


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


@pytest.mark.parametrize("name", EXPECTED)
def test_arguments(
    name: str, reader: ArgumentReader, program: Path, running: subprocess.Popen[bytes]
) -> None:
    [probe] = [probe for probe in read_probes(program) if probe.name == name]
    arguments = [argument for argument in probe.arguments if argument]
    for argument in arguments:
        # By what the process runs, wherever its file is.
        reader.attach(Path(f"/proc/{running.pid}/exe"), probe, argument)
    assert pass_probes(running)
    assert [reader.value(argument) for argument in arguments] == EXPECTED[name]


def test_the_program_knows_whether_somebody_listens(
    reader: ArgumentReader, program: Path, running: subprocess.Popen[bytes]
) -> None:
    [probe] = [probe for probe in read_probes(program) if probe.name == "constants"]
    assert probe.arguments[0]
    assert not pass_probes(running)
    reader.attach(program, probe, probe.arguments[0])
    assert pass_probes(running)
    reader.detach()
    assert not pass_probes(running)


def test_a_program_that_starts_later_is_probed(reader: ArgumentReader, program: Path) -> None:
    probe = read_probes(program)[0]
    argument = probe.arguments[0]
    assert argument
    reader.attach(program, probe, argument)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([str(program)], **pipes) as process:
        pass_probes(process)
        process.kill()
    assert reader.value(argument) == EXPECTED["registers"][0]


@pytest.mark.usefixtures("open_descriptors")
def test_a_file_that_is_not_there(reader: ArgumentReader, tmp_path: Path) -> None:
    argument = UsdtArgument(8, False, Register(0))
    probe = UsdtProbe("test", "none", 0, 0, 0, (argument,))
    with pytest.raises(FileNotFoundError):
        reader.attach(tmp_path / "none", probe, argument)
    reader.detach()


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
