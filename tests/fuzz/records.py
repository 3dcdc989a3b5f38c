"""Raw records of the ring: a line, made either way, is the same, or both refuse with one line.

An input is records one behind the other, each led by its size in two bytes.
"""

import struct
from collections.abc import Iterator

from fuzz.target import Target, assert_safe
from retis_py.collectors.collector import Part
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.collectors.skb import SkbPart
from retis_py.events.event import encode
from retis_py.events.text import TextFormat, event_text
from retis_py.kernel.btf import Btf
from unit.collect.test_json_decode import (
    KNOWN,
    Decoder,
    JsonDecoder,
    bitmap_of,
    header,
    made,
    outcome,
)
from unit.collectors.openvswitch import OvsTypes, openvswitch

_SIZE = struct.Struct("=H")


def target() -> Target:
    """See the module."""
    types = OvsTypes(Btf.vmlinux(), openvswitch(Btf.vmlinux()))
    options = CollectorOptions(frozenset(SkbPart), 255, ovs_track=True)
    parts = tuple(part for c in all_collectors(options) for part in c.parts(types))
    names = [part.wire.name.encode() for part in parts]
    return Target(lambda data: check(parts, data), [*_seeds(parts)], names, max_length=3000)


def check(parts: tuple[Part, ...], data: bytes) -> None:
    """Decode all with one decoder of each kind; the second time they remember."""
    event, lines = made(Decoder, parts).decode, made(JsonDecoder, parts).lines
    records = [*_records(data)]
    for record in (*records, *records):
        line = outcome(lambda: next(lines([record])))  # noqa: B023
        assert line == outcome(lambda: encode(event(record)) + b"\n")  # noqa: B023
        if isinstance(line, bytes):
            assert_safe(event_text(event(record), TextFormat()))


def _records(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _SIZE.size <= len(data):
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        yield data[at : at + size]
        at += size


def _seeds(parts: tuple[Part, ...]) -> Iterator[bytes]:
    def sized(*records: bytes) -> bytes:
        return b"".join(_SIZE.pack(len(record)) + record for record in records)

    for number, part in enumerate(parts):
        size = struct.calcsize("=" + part.wire.format)
        for probe in KNOWN:
            yield sized(header(1 << number, probe) + bytes(at & 0xFF for at in range(1, size + 1)))
    usual = [p for p in parts if p.wire.name in {"skb_tracking", "skb_drop", "packet", "dev"}]
    bitmap = bitmap_of(parts, *(part.wire.name for part in usual))
    size = sum(struct.calcsize("=" + part.wire.format) for part in usual)
    with_all = header(bitmap, frames=2, captured=40) + bytes(size) + bytes(16) + bytes(40)
    yield sized(with_all)
    yield sized(with_all, header(0), with_all[:-1])
