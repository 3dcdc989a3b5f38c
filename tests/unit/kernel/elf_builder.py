"""ELF files with USDT notes, put together by the byte."""

import struct
from dataclasses import dataclass, field

X86_64, ARM64 = 62, 183

CODE_ADDRESS, CODE_OFFSET, CODE_SIZE = 0x401000, 0x1000, 0x800
DATA_ADDRESS, DATA_OFFSET, DATA_SIZE = 0x602000, 0x1800, 0x100
BASE = 0x401700

PT_LOAD, SHT_PROGBITS, SHT_STRTAB, SHT_NOTE = 1, 1, 3, 7


@dataclass
class ElfFile:
    """What the file says. Each ``note`` is the content of one; ``base`` None: no such section."""

    notes: list[bytes] = field(default_factory=list)
    machine: int = X86_64
    base: int | None = BASE
    note_name: bytes = b"stapsdt\0"
    note_type: int = 3

    def content(self) -> bytes:
        """The file: header, segments, code and data, notes, names, sections."""
        segments = [
            _segment(5, CODE_OFFSET, CODE_ADDRESS, CODE_SIZE, CODE_SIZE),
            _segment(6, DATA_OFFSET, DATA_ADDRESS, DATA_SIZE, 0x900),
        ]
        loaded = 64 + 56 * len(segments)
        body = bytes(DATA_OFFSET + DATA_SIZE - loaded)
        notes = b"".join(self._note(content) for content in self.notes)
        names = b"\0.note.stapsdt\0.stapsdt.base\0.shstrtab\0"
        at = loaded + len(body)
        sections = [bytes(64), _section(names.index(b".note.stapsdt"), SHT_NOTE, 0, at, len(notes))]
        if self.base is not None:
            sections.append(_section(names.index(b".stapsdt.base"), SHT_PROGBITS, self.base, at, 1))
        at += len(notes)
        sections.append(_section(names.index(b".shstrtab"), SHT_STRTAB, 0, at, len(names)))
        at += len(names)
        identity = b"\x7fELF\x02\x01\x01" + bytes(9)
        numbers = (3, self.machine, 1, 0, 64, at, 0, 64, 56, len(segments), 64)
        header = struct.pack(
            "<16sHHIQQQIHHHHHH", identity, *numbers, len(sections), len(sections) - 1
        )
        return b"".join([header, *segments, body, notes, names, *sections])

    def _note(self, content: bytes) -> bytes:
        header = struct.pack("<III", len(self.note_name), len(content), self.note_type)
        return header + _padded(self.note_name) + _padded(content)


def note(
    address: int = CODE_ADDRESS,
    *texts: bytes,
    base: int = BASE,
    semaphore: int = 0,
    end: bytes = b"\0",
) -> bytes:
    """The content of a note: addresses, then provider, probe and arguments."""
    texts = texts or (b"provider", b"probe", b"")
    return struct.pack("<QQQ", address, base, semaphore) + b"\0".join(texts) + end


def _segment(flags: int, offset: int, address: int, size: int, memory: int) -> bytes:
    return struct.pack("<IIQQQQQQ", PT_LOAD, flags, offset, address, 0, size, memory, 1)


def _section(name: int, kind: int, address: int, at: int, size: int) -> bytes:
    return struct.pack("<IIQQQQIIQQ", name, kind, 0, address, at, size, 0, 0, 4, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
