"""Second pass of a sort: series written as lines of a sorted file, from the lines they hold."""

import mmap
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from retis_py.events.layout import IDS
from retis_py.events.lines import UNDECODABLE
from retis_py.events.source import Source
from retis_py.process.packets import Series
from retis_py.process.sort_index import Flow

FILE_SHIFT = 48
"""Bits of an offset; above them is the number of the file."""

OFFSET_MASK = (1 << FILE_SHIFT) - 1
"""Offset in its file."""

_SIZE_MASK = (1 << 32) - 1
# Pages of the mapped files are given back after so much, or all of them would count as ours.
_KEPT_MAPPED = 32 << 20
_INDICES = tuple(b'"idx":%d}' % number for number in range(256))
_FLOW_LOOKUP = b'"flow_lookup"'


class SeriesLines:
    """Writes series as JSON lines: ``[EVENT,EVENT]``, with the section ``tracking`` in each.

    ``flows`` holds the places of ``ovs-detrace`` events, whose texts go to the ``flow_lookup``
    events of the same flow.
    """

    def __init__(self, sources: Sequence[Source], flows: Mapping[Flow, tuple[int, int]]) -> None:
        self._maps = [
            mmap.mmap(source.fileno(), source.size or 0, prot=mmap.PROT_READ) for source in sources
        ]
        self._flows = flows
        self._read = 0

    def __call__(self, batch: Sequence[Series]) -> bytes:
        """Write the series of ``batch``, a line each."""
        parts: list[bytes] = []
        for key, places in batch:
            parts.append(b"[")
            if key is None:
                for line in self._lines(places):
                    parts += (line, b",")
            else:
                self._write(places, parts)
            parts[-1] = b"]\n"
        written = b"".join(parts)
        self._read += len(written)
        if self._read > _KEPT_MAPPED:
            self._read = 0
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
        return written

    def close(self) -> None:
        """Unmap the files."""
        for mapped in self._maps:
            mapped.close()

    def _write(self, places: "Sequence[int]", parts: list[bytes]) -> None:
        """Append the events of a packet, each followed by a comma."""
        maps = self._maps
        tracking = b""
        numbers = iter(places)
        for index, (_, offset, extent) in enumerate(zip(numbers, numbers, numbers)):  # noqa: B905
            mapped = maps[offset >> FILE_SHIFT]
            start = offset & OFFSET_MASK
            end = start + (extent & _SIZE_MASK)
            ids = extent >> 32
            number = _INDICES[index] if index < len(_INDICES) else b'"idx":%d}' % index
            line = None
            if not ids or (self._flows and _FLOW_LOOKUP in mapped[start:end]):
                line = self._line(offset, extent)
                if ids and line == mapped[start:end]:  # nothing was put in; it may be damaged
                    line = None
            if line is not None:
                tracking = tracking or _tracking(line)
                if (ids := line.find(IDS)) < 0:
                    parts += (_with_tracking(line, tracking + number), b",")
                    continue
                head, tail = line[:ids], line[ids:]
            else:
                middle = start + ids
                head, tail = mapped[start:middle], mapped[middle:end]
                if not tracking:
                    ids_end = tail.index(b"}") + 1
                    tracking = b',"tracking":{"skb":' + tail[len(IDS) : ids_end] + b","
            parts += (head, tracking, number, tail, b",")

    def _lines(self, places: "Sequence[int]") -> list[bytes]:
        numbers = iter(places)
        return [
            self._line(offset, extent)
            for _, offset, extent in zip(numbers, numbers, numbers)  # noqa: B905
        ]

    def _line(self, offset: int, extent: int) -> bytes:
        """Read a line, flows put in."""
        start = offset & OFFSET_MASK
        line = self._maps[offset >> FILE_SHIFT][start : start + (extent & _SIZE_MASK)]
        return self._enriched(line) if self._flows and _FLOW_LOOKUP in line else line

    def _enriched(self, line: bytes) -> bytes:
        """Put the texts of the flow into a ``flow_lookup`` event that has none."""
        try:
            event = msgspec.json.decode(line)
            lookup = event["ovs"]
            if lookup["event_type"] != "flow_lookup":
                return line
            place = self._flows.get((tuple(lookup["ufid"]), lookup["flow"], lookup["sf_acts"]))
            if place is None:
                return line
            detrace = msgspec.json.decode(self._line(*place))["ovs-detrace"]
            lookup["dpflow"] = lookup.get("dpflow") or detrace["dpflow"]
            lookup["ofpflows"] = lookup.get("ofpflows") or detrace["ofpflows"]
            return msgspec.json.encode(event)
        except (*UNDECODABLE, KeyError, TypeError, AttributeError):
            return line  # it is damaged, or its flow is: whoever decodes them says so


def _tracking(line: bytes) -> bytes:
    """Begin the section ``tracking`` of a series, from its first event: all but ``idx``."""
    ids = msgspec.json.encode(msgspec.json.decode(line)["skb-tracking"])
    return b',"tracking":{"skb":' + ids + b","


def _with_tracking(line: bytes, tracking: bytes) -> bytes:
    """Put the section, with a comma before it, behind those that come before it, in any layout."""
    event: dict[str, Any] = msgspec.json.decode(line)
    section = msgspec.json.decode(b"{" + tracking[1:] + b"}")
    before = {name: event.pop(name) for name in ("common", "kernel", "userspace") if name in event}
    return msgspec.json.encode(before | section | event)
