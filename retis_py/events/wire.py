"""Wire structs: one text says how a section travels from the BPF program to Python.

A section file declares the members as C does; the text goes into the program as it stands and is
turned into a format for ``struct``, so that the two sides cannot drift apart.
"""

import re
from functools import cached_property

from msgspec import Struct

_CODES = {
    "u8": ("B", 1),
    "s8": ("b", 1),
    "u16": ("H", 2),
    "s16": ("h", 2),
    "u32": ("I", 4),
    "s32": ("i", 4),
    "u64": ("Q", 8),
    "s64": ("q", 8),
}
_MEMBER = re.compile(r"(u8|u16|u32|u64|s8|s16|s32|s64|char)\s+(\w+)(?:\[(\d+)\])?")
_ALIGNMENT = 8  # parts follow one another at multiples of this


class Wire(Struct, frozen=True, dict=True):
    """A part of a raw event: ``struct part_NAME`` of the program.

    ``members`` is C text such as ``"char name[16]; u32 ifindex;"``: integers of kernel types and
    arrays of char (which come out as bytes). Parts are laid out as C lays them out and padded to
    a multiple of 8 bytes.
    """

    name: str
    members: str

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The members' names in order, as many as unpacking yields values."""
        return tuple(name for _, name, _ in self._parsed)

    @cached_property
    def format(self) -> str:
        """The format for ``struct``, without byte order, padding included."""
        return self._layout[0]

    @cached_property
    def size(self) -> int:
        """Bytes on the wire."""
        return self._layout[1]

    @cached_property
    def c_text(self) -> str:
        """The definition for the program."""
        members = "".join(f"\t{m.strip()};\n" for m in self.members.split(";") if m.strip())
        return f"struct part_{self.name} {{\n{members}}} __attribute__((aligned({_ALIGNMENT})));\n"

    @cached_property
    def _parsed(self) -> list[tuple[str, str, int]]:
        parsed = []
        for member in filter(None, map(str.strip, self.members.split(";"))):
            match = _MEMBER.fullmatch(member)
            if match is None or (match[1] == "char") != (match[3] is not None):
                raise ValueError(f"wire struct {self.name}: cannot lay out {member!r}")
            parsed.append((match[1], match[2], int(match[3] or 0)))
        return parsed

    @cached_property
    def _layout(self) -> tuple[str, int]:
        text, offset = "", 0
        for kind, _, count in self._parsed:
            if kind == "char":
                text, offset = f"{text}{count}s", offset + count
                continue
            code, size = _CODES[kind]
            padding = -offset % size
            text, offset = f"{text}{padding}x{code}" if padding else text + code, offset + padding
            offset += size
        padding = -offset % _ALIGNMENT
        return (f"{text}{padding}x" if padding else text), offset + padding


HEADER = Wire(
    "header",
    "u64 timestamp; u64 probe; u32 parts; u32 cpu; u32 pid; u32 tgid; u16 stack_length;"
    " u16 packet_length; u32 type; char comm[16]",
)
"""Every raw event's start: ``struct event_header``.

``timestamp`` is in ns, CLOCK_MONOTONIC; ``probe`` and ``type`` say which probe; ``parts`` is the
bitmap of the parts that follow; ``stack_length`` counts addresses (u64) and ``packet_length``
bytes that follow the parts.
"""


def text(raw: bytes) -> str:
    """Decode a ``char[]`` up to its NUL; bytes that are no UTF-8 become U+FFFD."""
    return raw.partition(b"\0")[0].decode(errors="replace")
