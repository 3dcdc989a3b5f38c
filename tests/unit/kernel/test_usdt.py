import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retis_py.errors import MissingPrerequisite
from retis_py.kernel.usdt import UsdtProbe, read_probes
from retis_py.kernel.usdt_arguments import Register, UsdtArgument
from unit.kernel import elf_builder
from unit.kernel.elf_builder import (
    BASE,
    CODE_ADDRESS,
    CODE_OFFSET,
    DATA_ADDRESS,
    DATA_OFFSET,
    ElfFile,
    note,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "program"


def read(path: Path, file: ElfFile | bytes) -> list[UsdtProbe]:
    path.write_bytes(file if isinstance(file, bytes) else file.content())
    return read_probes(path)


def test_probe(path: Path) -> None:
    content = note(CODE_ADDRESS + 5, b"dpif_recv", b"recv_upcall", b"8@%rdi -4@%eax")
    [probe] = read(path, ElfFile([content]))
    arguments = (UsdtArgument(8, False, Register(14)), UsdtArgument(4, True, Register(10)))
    expected = UsdtProbe(
        "dpif_recv", "recv_upcall", CODE_ADDRESS + 5, CODE_OFFSET + 5, 0, arguments
    )
    assert probe == expected
    assert probe.symbol == "dpif_recv:recv_upcall"


def test_arguments_of_the_file_s_machine(path: Path) -> None:
    content = note(CODE_ADDRESS, b"a", b"b", b"8@x1 8@%rax")
    [probe] = read(path, ElfFile([content], machine=elf_builder.ARM64))
    assert probe.arguments == (UsdtArgument(8, False, Register(1)), None)


def test_inlined_probe_is_there_twice(path: Path) -> None:
    probes = read(path, ElfFile([note(CODE_ADDRESS + n) for n in (1, 2)]))
    assert [probe.offset for probe in probes] == [CODE_OFFSET + 1, CODE_OFFSET + 2]


def test_semaphore_is_a_place_in_the_file(path: Path) -> None:
    [probe] = read(path, ElfFile([note(semaphore=DATA_ADDRESS + 2)]))
    assert probe.semaphore == DATA_OFFSET + 2


@pytest.mark.parametrize("moved", [0x100, -0x100])
def test_file_that_was_moved_after_linking(path: Path, moved: int) -> None:
    content = note(CODE_ADDRESS + 0x200, base=BASE, semaphore=DATA_ADDRESS + 0x10 - moved)
    [probe] = read(path, ElfFile([content], base=BASE + moved))
    assert probe.address == CODE_ADDRESS + 0x200 + moved
    assert probe.offset == CODE_OFFSET + 0x200 + moved
    assert probe.semaphore == DATA_OFFSET + 0x10


def test_without_the_base_section_addresses_are_as_linked(path: Path) -> None:
    [probe] = read(path, ElfFile([note(CODE_ADDRESS + 3)], base=None))
    assert probe.offset == CODE_OFFSET + 3


@pytest.mark.parametrize(
    "file",
    [
        ElfFile([]),
        ElfFile([note()], note_name=b"GNU\0"),
        ElfFile([note()], note_type=1),
    ],
    ids=["no note", "another's", "of another type"],
)
def test_no_probes(path: Path, file: ElfFile) -> None:
    assert read(path, file) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no ELF file"),
        (b"#!/bin/sh\n", "no ELF file"),
        (b"\x7fELF\x01\x01" + bytes(60), "no 64-bit little-endian"),
        (b"\x7fELF\x02\x02" + bytes(60), "no 64-bit little-endian"),
        (b"\x7fELF\x02\x01", "no 64-bit little-endian"),
        (ElfFile([note()], machine=8).content(), "another machine"),
        (ElfFile([note()]).content()[:-1], "ends too early"),
        (ElfFile([note(0x10)]).content(), "not in the file"),
        (ElfFile([note(DATA_ADDRESS + 0x500)]).content(), "not in the file"),
        (ElfFile([note(semaphore=7)]).content(), "not in the file"),
        (ElfFile([note()[:20]]).content(), "too short"),
        (ElfFile([note(CODE_ADDRESS, b"a", b"b", end=b"\0")]).content(), "a note without"),
        (ElfFile([note(CODE_ADDRESS, b"a", b"b", b"c", end=b"")]).content(), "a note without"),
        (ElfFile([note(CODE_ADDRESS, b"", b"b", b"")]).content(), "a note without"),
    ],
)
def test_damage_is_one_line(path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(MissingPrerequisite) as caught:
        read(path, content)
    assert str(caught.value).startswith(f"cannot read the USDT probes of {path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_note_longer_than_its_section(path: Path) -> None:
    content = ElfFile([note()]).content()
    at = content.index(b"stapsdt\0") - 8  # the size of the content
    with pytest.raises(MissingPrerequisite, match="longer than its section"):
        read(path, content[:at] + b"\xff\xff\0\0" + content[at + 4 :])


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_opened_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingPrerequisite, match=r"^cannot read the USDT probes of "):
        read_probes(tmp_path / name)


GOOD = ElfFile(
    [note(CODE_ADDRESS + n, b"p", b"n%d" % n, b"8@16(%rsp)") for n in range(3)]
).content()
# Nearly all of it is empty code.
CHANGEABLE = [*range(64 + 2 * 56), *range(DATA_OFFSET + elf_builder.DATA_SIZE, len(GOOD))]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(CHANGEABLE), st.integers(0, 255), max_size=4),
    st.none() | st.sampled_from(CHANGEABLE),
)
def test_any_damage_is_told_or_does_no_harm(
    path: Path, changes: dict[int, int], end: int | None
) -> None:
    content = bytearray(GOOD)
    for at, value in changes.items():
        content[at] = value
    try:
        probes = read(path, bytes(content[:end]))
    except MissingPrerequisite as error:
        assert "\n" not in str(error)
    else:
        assert all(0 <= probe.offset < len(GOOD) for probe in probes)


# As <sys/sdt.h> writes it, which only the lab has.
SOURCE = r"""
#define PROBE(name, argument) __asm__ volatile ( \
    "990: nop\n" \
    ".pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n" \
    ".4byte 992f-991f, 994f-993f, 3\n" \
    "991: .asciz \"stapsdt\"\n992: .balign 4\n" \
    "993: .8byte 990b, _.stapsdt.base, 0\n" \
    ".asciz \"test\"\n.asciz \"" #name "\"\n.asciz \"-4@%0\"\n" \
    "994: .balign 4\n.popsection\n" \
    ".ifndef _.stapsdt.base\n" \
    ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
    ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n" \
    "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n.endif\n" \
    :: "nor" (argument))
int main(int argc, char **argv) { PROBE(first, argc); PROBE(second, 7); return 0; }
"""


@pytest.mark.parametrize("strip", [False, True])
def test_file_that_a_compiler_made(path: Path, tmp_path: Path, strip: bool) -> None:
    source = tmp_path / "program.c"
    source.write_text(SOURCE)
    options = ["-s"] if strip else []
    subprocess.run(["gcc", "-O1", *options, "-o", str(path), str(source)], check=True)
    probes = read_probes(path)
    assert [probe.symbol for probe in probes] == ["test:first", "test:second"]
    assert all(len(probe.arguments) == 1 and probe.arguments[0] for probe in probes)
    code = path.read_bytes()
    nop = {"x86_64": b"\x90", "aarch64": b"\x1f\x20\x03\xd5"}[_machine()]
    assert all(code[probe.offset :].startswith(nop) for probe in probes)


def _machine() -> str:
    return {62: "x86_64", 183: "aarch64"}[
        ctypes.c_uint16.from_buffer_copy(Path("/proc/self/exe").read_bytes()[18:20]).value
    ]
