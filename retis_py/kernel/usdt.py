"""USDT probes of a program or library: the notes ``.note.stapsdt`` of its ELF file.

Each is an ELF note of type 3 with the name ``stapsdt``. Its content are the addresses of the
probe, of the section ``.stapsdt.base`` when it was linked and of a semaphore (0 if none), then the
names of provider and probe and the arguments, each ended by a zero byte (sys/sdt.h of SystemTap;
elf(5)). Files come from other people's processes: nothing in them is trusted.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO, NamedTuple

from retis_py.errors import MissingPrerequisite
from retis_py.kernel.usdt_arguments import UsdtArgument, parse_arguments

# e_machine (elf.h) to the name that uname(2) has.
_MACHINES = {62: "x86_64", 183: "aarch64"}

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOTE = struct.Struct("<III")
_ADDRESSES = struct.Struct("<QQQ")

_PT_LOAD = 1
_SHT_NOTE = 7
_NT_STAPSDT = 3
_BASE_SECTION = b".stapsdt.base"

# What a file may say at most: programs with all of the world's probes have a few hundred KiB.
_LARGEST_PART = 16 << 20


@dataclass(frozen=True, slots=True)
class UsdtProbe:
    """A place in a file where a probe can be set; inlined code has several of one name.

    ``offset`` and ``semaphore`` are places in the file, as uprobes want them; a probe without a
    semaphore has 0. ``address`` is the probe's in the ELF file's own terms. An argument that
    cannot be read is None.
    """

    provider: str
    name: str
    address: int
    offset: int
    semaphore: int
    arguments: tuple[UsdtArgument | None, ...]

    @property
    def symbol(self) -> str:
        """The name that events have."""
        return f"{self.provider}:{self.name}"


def read_probes(path: Path) -> list[UsdtProbe]:
    """Return the probes of an ELF file, in its order; none where it was built without.

    Raises:
        MissingPrerequisite: it cannot be read, is damaged or is no ELF file of a known machine.
    """
    try:
        with path.open("rb") as file:
            return list(_Elf(file).probes())
    except OSError as error:
        reason = error.strerror
    except _Damaged as error:
        reason = str(error)
    raise MissingPrerequisite(
        f"cannot read the USDT probes of {path}: {reason};"
        " give a 64-bit program of x86-64 or arm64 that is whole"
    )


class _Damaged(Exception):  # noqa: N818
    """What is wrong with the file."""


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class _Segment(NamedTuple):
    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    alignment: int


class _Elf:
    """As much of an ELF file as notes need."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, SEEK_END)
        file.seek(0)
        header = file.read(_HEADER.size)
        if not header.startswith(b"\x7fELF"):
            raise _Damaged("no ELF file")
        if not header.startswith(_ELF64_LITTLE_ENDIAN) or len(header) < _HEADER.size:
            raise _Damaged("no 64-bit little-endian ELF file")
        # fmt: off
        (_, _, machine, _, _, segments, sections, _, _, segment_size, segment_count, section_size,
         section_count, names) = _HEADER.unpack(header)
        # fmt: on
        if machine not in _MACHINES:
            raise _Damaged(f"made for another machine (ELF number {machine})")
        self._machine = _MACHINES[machine]
        self._segments = [
            _Segment(*s) for s in self._table(_SEGMENT, segments, segment_size, segment_count)
        ]
        self._sections = [
            _Section(*s) for s in self._table(_SECTION, sections, section_size, section_count)
        ]
        self._names = names

    def probes(self) -> Iterator[UsdtProbe]:
        shift = None
        for section in self._sections:
            if section.type != _SHT_NOTE:
                continue
            for content in self._notes(section):
                if shift is None:
                    shift = self._base(content)
                yield self._probe(content, shift)

    def _notes(self, section: _Section) -> Iterator[bytes]:
        """Return the contents of the section's notes that are probes."""
        data = self._read(section.offset, section.size)
        at = 0
        while at + _NOTE.size <= len(data):
            name_size, size, kind = _NOTE.unpack_from(data, at)
            name = at + _NOTE.size
            content = name + _aligned(name_size)
            at = content + _aligned(size)
            if content + size > len(data):
                raise _Damaged("a note is longer than its section")
            if kind == _NT_STAPSDT and data[name : name + name_size] == b"stapsdt\0":
                if size < _ADDRESSES.size:
                    raise _Damaged("a note that is too short")
                yield data[content : content + size]

    def _base(self, content: bytes) -> int:
        """Return what to add to notes' addresses: the file may have been moved after linking."""
        linked = _ADDRESSES.unpack_from(content)[1]
        base = next((s.address for s in self._sections if self._is_base(s)), linked)
        return base - linked if linked else 0

    def _is_base(self, section: _Section) -> bool:
        if self._names >= len(self._sections):
            return False
        names = self._sections[self._names]
        wanted = _BASE_SECTION + b"\0"
        if section.name + len(wanted) > names.size:
            return False
        return self._read(names.offset + section.name, len(wanted)) == wanted

    def _probe(self, content: bytes, shift: int) -> UsdtProbe:
        address, _, semaphore = _ADDRESSES.unpack_from(content)
        texts = content[_ADDRESSES.size :].split(b"\0")
        if len(texts) < 4 or not texts[0] or not texts[1]:
            raise _Damaged("a note without provider, name and arguments")
        provider, name, arguments = (text.decode(errors="replace") for text in texts[:3])
        address += shift
        return UsdtProbe(
            provider,
            name,
            address,
            self._place(address),
            self._place(semaphore + shift) if semaphore else 0,
            parse_arguments(arguments, self._machine),
        )

    def _place(self, address: int) -> int:
        """Return where in the file is what will be at this address."""
        for segment in self._segments:
            within = address - segment.address
            place = segment.offset + within
            if segment.type == _PT_LOAD and 0 <= within < segment.file_size and place < self._size:
                return place
        raise _Damaged(f"a probe at {address:#x}, which is not in the file")

    def _table(
        self, form: struct.Struct, at: int, size: int, count: int
    ) -> Iterator[tuple[int, ...]]:
        if not count:
            return
        if size != form.size:
            raise _Damaged("a table of another layout")
        yield from form.iter_unpack(self._read(at, size * count))

    def _read(self, at: int, size: int) -> bytes:
        if size > _LARGEST_PART or at >= 1 << 63:
            raise _Damaged("a part that is impossibly large")
        self._file.seek(at)
        data = self._file.read(size)
        if len(data) < size:
            raise _Damaged("it ends too early")
        return data


def _aligned(size: int) -> int:
    return size + 3 & ~3
