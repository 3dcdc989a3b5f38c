"""Raw records to events."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from retis_py.collect.probe_table import ProbeTable
from retis_py.collectors.collector import Part
from retis_py.errors import RetisError
from retis_py.events.event import Event
from retis_py.events.sections.common import Common, Task
from retis_py.events.sections.kernel import Kernel
from retis_py.events.sections.skb import Skb
from retis_py.events.sections.userspace import Userspace
from retis_py.events.wire import HEADER, text
from retis_py.probes.probe import Probe, ProbeType, UserProbe

MADE_OF_FIELDS: dict[str, Callable[[], Any]] = {"skb": Skb}
"""Sections all of whose parts are fields, none of them always there; how to make one without."""

ADDRESS_SIZE = 8
"""Bytes of an address of a stack."""

_HEADER_FIELDS = len(HEADER.fields)
_PARTS = struct.Struct("=I")
_PARTS_OFFSET = 16  # after timestamp and probe

# Held at most; beyond this all are forgotten. Names of tasks come and go; of layouts a program has
# some dozens.
_NAMES = 4096
_LAYOUTS = 1024


class Decoder:
    """Turns the raw records of one program into events.

    ``probes`` are the attached ones; tracepoints carry their index in it, functions their
    address. ``resolve`` names a kernel address.
    """

    def __init__(
        self, parts: Sequence[Part], probes: Sequence[Probe], resolve: Callable[[int], str]
    ) -> None:
        self._parts = parts
        self._resolve = resolve
        self._layouts: dict[int, Layout] = {}
        self._names: dict[bytes, str] = {}
        self._probes = ProbeTable(probes)
        self._kernel: dict[tuple[int, int], tuple[str, str]] = {}
        self.programs: dict[int, str] = {}
        """Paths of the programs of processes, by process id, where they are known."""

    def add_function(self, probe: Probe) -> None:
        """Know a function that is attached from now on."""
        self._probes.add_function(probe)
        self._kernel.clear()

    def add_user_probe(self, index: int, probe: UserProbe) -> None:
        """Know a USDT probe that is attached from now on, with its program's number."""
        self._probes.add_user_probe(index, probe)

    def decode(self, record: bytes) -> Event:
        """Decode one record.

        Raises:
            RetisError: it is not as the program makes them (a bug).
        """
        try:
            return self._decode(record)
        except struct.error as error:
            raise RetisError(f"an event cut short, of {len(record)} bytes ({error})") from error

    def _decode(self, record: bytes) -> Event:
        (bitmap,) = _PARTS.unpack_from(record, _PARTS_OFFSET)
        layout = self._layouts.get(bitmap)
        if layout is None:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[bitmap] = Layout(self._parts, bitmap)
        values = layout.struct.unpack_from(record)
        timestamp, key, _, cpu, pid, tgid, stack_length, packet_length, kind, comm = values[
            :_HEADER_FIELDS
        ]
        kernel = self._kernel.get((kind, key)) or self._kernel_of(kind, key)
        name = self._names.get(comm)
        if name is None:
            name = self._name(comm)
        event = Event(Common(timestamp, cpu, Task(pid, tgid, name)))
        if kernel is None:
            event.userspace = self._userspace(kind, key, tgid, pid)
        else:
            event.kernel = Kernel(*kernel)
        layout.build(event, values)
        at = layout.struct.size
        if stack_length and event.kernel is not None:
            addresses = struct.unpack_from(f"={stack_length}Q", record, at)
            event.kernel.frames = [*map(self._resolve, addresses)]
            at += stack_length * ADDRESS_SIZE
        packet = event.packet
        if packet is not None:
            if at + packet_length > len(record):
                raise RetisError(f"an event cut short, of {len(record)} bytes (its packet)")
            packet.raw = record[at : at + packet_length]
            packet.capture_len = packet_length
        return event

    def _kernel_of(self, kind: int, key: int) -> tuple[str, str] | None:
        """Return what the section says of a probe; None where it is not the kernel's."""
        probe = self._probes.get((kind, key))
        if probe is None:
            raise RetisError(f"an event of a probe that is not attached ({kind}, {key:#x})")
        if isinstance(probe, UserProbe):
            return None
        kernel = self._kernel[kind, key] = probe.symbol, probe.type.value
        return kernel

    def _userspace(self, kind: int, key: int, tgid: int, pid: int) -> Userspace:
        probe = self._probes[kind, key]
        assert isinstance(probe, UserProbe)  # noqa: S101 (the others have their own section)
        path = self.programs.get(tgid, probe.path)
        return Userspace(ProbeType.USDT.value, probe.symbol, 0, path, tgid, pid)

    def _name(self, comm: bytes) -> str:
        if len(self._names) >= _NAMES:
            self._names.clear()
        name = self._names[comm] = text(comm)
        return name


class Layout:
    """How an event with a certain bitmap of parts is unpacked: at once, then part by part.

    ``struct`` unpacks the header and all parts.
    """

    def __init__(self, parts: Sequence[Part], bitmap: int) -> None:
        present = [part for number, part in enumerate(parts) if bitmap >> number & 1]
        if bitmap >> len(parts):
            raise RetisError(f"an event with unknown parts ({bitmap:#x})")
        self.struct = struct.Struct("=" + HEADER.format + "".join(p.wire.format for p in present))
        self._steps: list[tuple[str, str | None, Callable[..., Any], int, int]] = []
        start = _HEADER_FIELDS
        for part in present:
            end = start + len(part.wire.fields)
            self._steps.append((part.section, part.field, part.build, start, end))
            start = end

    def build(self, event: Event, values: tuple[Any, ...]) -> None:
        """Put the sections into ``event`` that the unpacked values make.

        Raises:
            RetisError: a part is not as the program makes them, or lacks its section.
        """
        for section, field, build, start, end in self._steps:
            built = build(*values[start:end])
            if field is None:
                setattr(event, section, built)
                continue
            whole = getattr(event, section)
            if whole is None:
                make = MADE_OF_FIELDS.get(section)
                if make is None:
                    raise RetisError(
                        f"an event with a part of a section that is missing ({section})"
                    )
                whole = make()
                setattr(event, section, whole)
            try:
                setattr(whole, field, built)
            except AttributeError:
                raise RetisError(
                    f"an event with a part that its section cannot have ({section}, {field})"
                ) from None
