"""Records with conntrack's parts: the ways in which they come together, and others."""

import struct
from collections.abc import Iterable

import pytest

from retis_py.collect.decode import Decoder
from retis_py.collectors.collector import Part
from retis_py.collectors.ct import CtCollector
from retis_py.collectors.dev import DevCollector
from retis_py.errors import RetisError
from retis_py.events.event import Event, decode, encode
from retis_py.events.sections.ct import CtState
from retis_py.events.wire import HEADER
from retis_py.probes.available import Types
from retis_py.probes.probe import Probe, ProbeType

PROBE = Probe(ProbeType.RAW_TRACEPOINT, "net:netif_rx", (("skb", 0),))

# What all connections' parts begin with: status, mark, zone, its direction, the packet's relation,
# protocol, state, ports, tags.
COMMON = struct.pack("<QIHBBBB4H2x2I", 0x18E, 7, 5, 3, 2, 6, 3, 1000, 80, 81, 1001, 0, 0)
V4 = bytes([10, 0, 0, 1, 10, 0, 0, 2, 10, 0, 0, 3, 10, 0, 0, 4])
V6 = b"".join(bytes([0xFD, *bytes(14), end]) for end in (1, 2, 3, 4))
LABELS = struct.pack("<QQ", 1 << 3, 1 << 6)

RAW = {
    "ct_ipv4": COMMON + V4,
    "ct_ipv6": COMMON + V6,
    "ct_untracked": b"\xdd\x86",
    "ct_labels": LABELS,
    "ct_parent_ipv4": COMMON + V4 + bytes(-len(COMMON + V4) % 8) + LABELS,
    "ct_parent_ipv6": COMMON + V6 + bytes(-len(COMMON + V6) % 8) + LABELS,
    "dev": b"veth0".ljust(16, b"\0") + struct.pack("<II", 3, 4),
}


@pytest.fixture(scope="module")
def parts(types: Types) -> tuple[Part, ...]:
    return (*DevCollector().parts(types), *CtCollector().parts(types))


def decoded(parts: tuple[Part, ...], *present: str) -> Event:
    assert set(present) <= {part.wire.name for part in parts}
    return Decoder(parts, [PROBE], str).decode(record(parts, present))


def record(parts: tuple[Part, ...], present: Iterable[str]) -> bytes:
    bitmap = sum(1 << n for n, part in enumerate(parts) if part.wire.name in present)
    raw = struct.pack(
        "=" + HEADER.format, 1, 0, bitmap, 0, 1, 1, 0, 0, ProbeType.RAW_TRACEPOINT.number, b"x"
    )
    for part in parts:
        if part.wire.name in present:
            raw += RAW[part.wire.name].ljust(part.wire.size, b"\0")
    return raw


@pytest.mark.parametrize("own", ["ct_ipv4", "ct_ipv6"])
@pytest.mark.parametrize("labels", [(), ("ct_labels",)], ids=["plain", "labels"])
@pytest.mark.parametrize("parent", [None, "ct_parent_ipv4", "ct_parent_ipv6"])
@pytest.mark.parametrize("others", [(), ("dev",)], ids=["alone", "dev"])
def test_connections(
    parts: tuple[Part, ...],
    own: str,
    labels: tuple[str, ...],
    parent: str | None,
    others: tuple[str, ...],
) -> None:
    event = decoded(parts, own, *labels, *([parent] if parent else []), *others)
    addresses = {"ipv4": ("10.0.0.1", "10.0.0.4"), "ipv6": ("fd00::1", "fd00::4")}
    ct = event.ct
    assert ct is not None
    assert ct.state is CtState.NEW
    assert (ct.orig.ip.src, ct.reply.ip.dst) == addresses[own[-4:]]
    assert (ct.labels is not None) == bool(labels)
    assert (ct.parent is not None) == bool(parent)
    if ct.parent is not None and parent is not None:
        assert (ct.parent.orig.ip.src, ct.parent.reply.ip.dst) == addresses[parent[-4:]]
        assert ct.parent.labels is not None
        assert (ct.parent.labels.lo, ct.parent.labels.hi) == (1 << 3, 1 << 6)
    for connection in (ct, ct.parent):
        if connection is not None:
            assert (connection.ct_status, connection.mark) == (0x18E, 7)
            assert (connection.zone_id, connection.zone_dir) == (5, "Default")
            assert connection.proto_state == "ESTABLISHED"
            assert connection.orig.proto.tcp is not None
            assert (connection.orig.proto.tcp.sport, connection.orig.proto.tcp.dport) == (1000, 80)
    assert (event.dev is not None) == bool(others)
    assert decode(encode(event)) == event


def test_untracked(parts: tuple[Part, ...]) -> None:
    event = decoded(parts, "ct_untracked")
    assert event.ct is not None
    assert (event.ct.state, event.ct.orig.ip.src) == (CtState.UNTRACKED, "::")


def test_one_packets_fields_stay_its_own(parts: tuple[Part, ...]) -> None:
    """Packets of one connection have most of their section in common."""
    decoder = Decoder(parts, [PROBE], str)
    plain, full = (
        record(parts, ["ct_ipv4"]),
        record(parts, ["ct_ipv4", "ct_labels", "ct_parent_ipv4"]),
    )
    before, between, after = (decoder.decode(raw).ct for raw in (plain, full, plain))
    assert between is not None
    assert between.labels is not None
    assert between.parent is not None
    assert before == after
    assert before is not None
    assert before.labels is None
    assert before.parent is None


@pytest.mark.parametrize("alone", ["ct_labels", "ct_parent_ipv4", "ct_parent_ipv6"])
def test_fields_of_no_section(parts: tuple[Part, ...], alone: str) -> None:
    with pytest.raises(RetisError, match=r"a section that is missing \(ct\)"):
        decoded(parts, alone)


def test_truncated_anywhere(parts: tuple[Part, ...]) -> None:
    whole = record(parts, ("ct_ipv6", "ct_labels", "ct_parent_ipv4"))
    decoder = Decoder(parts, [PROBE], str)
    assert decoder.decode(whole).ct is not None
    for length in range(len(whole)):
        with pytest.raises(RetisError):
            decoder.decode(whole[:length])
