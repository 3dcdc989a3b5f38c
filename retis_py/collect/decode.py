"""Raw records to events."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from retis_py.collectors.collector import Part
from retis_py.errors import RetisError
from retis_py.events.event import Event
from retis_py.events.sections.common import Common, Task
from retis_py.events.sections.kernel import Kernel
from retis_py.events.sections.skb import Skb
from retis_py.events.sections.userspace import Userspace
from retis_py.events.wire import HEADER, text
from retis_py.probes.probe import Probe, ProbeType, UserProbe

_HEADER_FIELDS = len(HEADER.fields)
_PARTS = struct.Struct("=I")
_PARTS_OFFSET = 16  # after timestamp and probe
_ADDRESS_SIZE = 8
# With Intel's indirect branch tracking a function starts with an endbr64, and some kernels give
# the address after it.
_ENDBR_SIZE = 4


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
        self._layouts: dict[int, _Layout] = {}
        self._probes: dict[tuple[int, int], Probe | UserProbe] = {}
        self.programs: dict[int, str] = {}
        """Paths of the programs of processes, by process id, where they are known."""
        for index, probe in enumerate(probes):
            if probe.type is ProbeType.RAW_TRACEPOINT:
                self._probes[probe.type.number, index] = probe
            else:
                self.add_function(probe)

    def add_function(self, probe: Probe) -> None:
        """Know a function that is attached from now on."""
        number = probe.type.number
        self._probes[number, probe.address] = probe
        self._probes.setdefault((number, probe.address + _ENDBR_SIZE), probe)

    def add_user_probe(self, index: int, probe: UserProbe) -> None:
        """Know a USDT probe that is attached from now on, with its program's number."""
        self._probes[ProbeType.USDT.number, index] = probe

    def probe(self, kind: int, key: int) -> Probe | UserProbe | None:
        """Return the probe with that number of its type and that index or address."""
        return self._probes.get((kind, key))

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
            layout = self._layouts[bitmap] = _Layout(self._parts, bitmap)
        values = layout.struct.unpack_from(record)
        timestamp, key, _, cpu, pid, tgid, stack_length, packet_length, kind, comm = values[
            :_HEADER_FIELDS
        ]
        probe = self._probes.get((kind, key))
        if probe is None:
            raise RetisError(f"an event of a probe that is not attached ({kind}, {key:#x})")
        event = Event(Common(timestamp, cpu, Task(pid, tgid, text(comm))))
        if isinstance(probe, UserProbe):
            path = self.programs.get(tgid, probe.path)
            event.userspace = Userspace(ProbeType.USDT.value, probe.symbol, 0, path, tgid, pid)
        else:
            event.kernel = Kernel(probe.symbol, probe.type.value)
        for section, field, build, start, end in layout.steps:
            built = build(*values[start:end])
            if field is None:
                setattr(event, section, built)
                continue
            if event.skb is None and section == "skb":  # it has no part that is always there
                event.skb = Skb()
            whole = getattr(event, section)
            if whole is None:
                raise RetisError(f"an event with a part of a section that is missing ({section})")
            setattr(whole, field, built)
        at = layout.struct.size
        if stack_length and event.kernel is not None:
            addresses = struct.unpack_from(f"={stack_length}Q", record, at)
            event.kernel.stack_trace = [self._resolve(address) for address in addresses]
            at += stack_length * _ADDRESS_SIZE
        if event.packet is not None:
            if at + packet_length > len(record):
                raise RetisError(f"an event cut short, of {len(record)} bytes (its packet)")
            event.packet.data = record[at : at + packet_length]
            event.packet.capture_len = packet_length
        return event


class _Layout:
    """How an event with a certain bitmap of parts is unpacked: at once, then part by part."""

    def __init__(self, parts: Sequence[Part], bitmap: int) -> None:
        present = [part for number, part in enumerate(parts) if bitmap >> number & 1]
        if bitmap >> len(parts):
            raise RetisError(f"an event with unknown parts ({bitmap:#x})")
        self.struct = struct.Struct("=" + HEADER.format + "".join(p.wire.format for p in present))
        self.steps: list[tuple[str, str | None, Callable[..., Any], int, int]] = []
        start = _HEADER_FIELDS
        for part in present:
            end = start + len(part.wire.fields)
            self.steps.append((part.section, part.field, part.build, start, end))
            start = end
