"""Event files of any size for benchmarks, made of the few that tests/data holds."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

_DATA = Path(__file__).parents[1] / "tests/data/test_events_packets.json"

_PERIOD = 2_000_000_000  # ns from a repetition to the next, longer than one takes
# What makes a packet another one: number by repetition, in the sections that name packets.
_MOVED = re.compile(rb'"(timestamp|upcall_ts|orig_head|skb|data)":("[^"]*"|[0-9]+)')
_HEADS = (512, 1024)  # so many addresses of packet data come up, so many bytes apart
_SKBS = (300, 256)
# In the packets of the data, ICMP over IPv4 in Ethernet: IP's id, ICMP's id and sequence number.
_IP_ID = slice(18, 20)
_ICMP_ID = slice(38, 42)

Line = Callable[[int], bytes]
"""A line of the file, by the number of the repetition."""


def write_events(path: Path, events: int, *, own_packets: bool) -> None:
    """Write so many events: those of the data again and again, each time later, by new packets.

    With ``own_packets`` the bytes of a packet differ from repetition to repetition too.
    """
    first, *lines = _DATA.read_bytes().splitlines()
    templates = [_template(line, own_packets) for line in lines]
    with path.open("wb") as file:
        file.write(_startup(first) + b"\n")
        file.writelines(islice(_lines(templates), events - 1))


def _lines(templates: list[Line]) -> Iterator[bytes]:
    for repetition in count():
        for line in templates:
            yield line(repetition) + b"\n"


def _startup(line: bytes) -> bytes:
    """Return the startup event as the newest release writes it: the data is older."""
    event = json.loads(line)
    event["startup"] |= {
        "retis_version": "v1.7.0",
        "cmdline": "retis collect",
        "machine": {"kernel_release": "6.12", "kernel_version": "#1", "hardware_name": "x86_64"},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _template(line: bytes, own_packets: bool) -> Line:
    """Make a line's format once, so that a million of them do not take long."""
    found = [
        match
        for match in _MOVED.finditer(line)
        if match[2].isdigit() or (match[1] == b"data" and own_packets)
    ]
    places = [match.span(2) for match in found]
    ends = [0, *(end for _, end in places)]
    starts = [*(start for start, _ in places), len(line)]
    texts = [line[end:start] for end, start in zip(ends, starts, strict=True)]
    values = [_value(*match.groups()) for match in found]

    def formatted(repetition: int) -> bytes:
        parts = [texts[0]]
        for value, text in zip(values, texts[1:], strict=True):
            parts += (value(repetition), text)
        return b"".join(parts)

    return formatted


def _value(name: bytes, text: bytes) -> Line:
    if name == b"data":
        packet = b64decode(text.strip(b'"'))
        return lambda repetition: b'"%b"' % b64encode(_with_ids(packet, repetition))
    start = int(text)
    if name in (b"orig_head", b"skb"):
        different, apart = _HEADS if name == b"orig_head" else _SKBS
        return lambda repetition: b"%d" % (start + repetition % different * apart)
    return lambda repetition: b"%d" % (start + repetition * _PERIOD)


def _with_ids(packet: bytes, repetition: int) -> bytes:
    changed = bytearray(packet)
    changed[_IP_ID] = (repetition & 0xFFFF).to_bytes(2)
    changed[_ICMP_ID] = repetition.to_bytes(4)
    return bytes(changed)
