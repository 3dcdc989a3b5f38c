"""Raw records to events: every combination of parts, and records that no program makes."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retis_py.collect.decode import Decoder
from retis_py.collect.probe_table import ProbeTable
from retis_py.collectors.collector import Part
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.collectors.skb import SkbPart
from retis_py.errors import RetisError
from retis_py.events.event import Event, decode, encode
from retis_py.events.wire import HEADER
from retis_py.kernel.btf import Btf
from retis_py.probes.available import Types
from retis_py.probes.probe import Probe, ProbeType

K, KR, TP = ProbeType.KPROBE, ProbeType.KRETPROBE, ProbeType.RAW_TRACEPOINT
IP_RCV = 0xFFFFFFFF81234560
PROBES = [
    Probe(TP, "skb:kfree_skb", (("skb", 0),)),
    Probe(K, "ip_rcv", (("skb", 0),), address=IP_RCV),
    Probe(KR, "ip_rcv", (("skb", 0),), address=IP_RCV),
    Probe(TP, "net:netif_rx", (("skb", 0),)),
]
# Parts of these exclude one another, or need one another: test_decode_ct.py and
# ../collectors/test_nft.py and test_ovs.py have them.
OTHERS = ("ct", "nft", "ovs")
ALL = all_collectors(CollectorOptions(frozenset(SkbPart)))
COLLECTORS = [c for c in ALL if c.name not in OTHERS]

# What each part's members are in the records made here, and the section that must come of them.
VALUES = {
    "skb_tracking": ((2**64 - 1, 2**63, 7), {"orig_head": 2**64 - 1, "timestamp": 2**63, "skb": 7}),
    "skb_drop": ((2,), {"drop_reason": ...}),
    "skb_vlan_accel": ((0x8100, 0xB00A), {"proto": 0x8100, "pcp": 5, "dei": True, "vid": 10}),
    "skb_meta": (
        (1500, 40, 0xDEADBEEF, 3, 0x100022, 1, 6),
        {"len": 1500, "data_len": 40, "hash": 0xDEADBEEF, "ip_summed": 3, "csum": 0x100022,
         "csum_level": 1, "priority": 6},
    ),
    "skb_dataref": (
        (1, 0, 2, 255, 3),
        {"nohdr": True, "cloned": False, "fclone": 2, "users": 255, "dataref": 3},
    ),
    "skb_gso": (
        (1, 17, 1448, 3, 0x11),
        {"flags": 1, "frags": 17, "size": 1448, "segs": 3, "type": 0x11},
    ),
    "packet": ((1514,), {"len": 1514, "capture_len": 60}),
    "dev": ((b"veth0\0", 3, 4), {"name": "veth0", "ifindex": 3, "rx_ifindex": 4}),
    "netns": ((9, 4026531833, 1), {"cookie": 9, "inum": 4026531833}),
}  # fmt: skip
PACKET = bytes(range(60))


@pytest.fixture(scope="module")
def parts(types: Types) -> tuple[Part, ...]:
    return tuple(part for c in COLLECTORS for part in c.parts(types))


def decoder(parts: tuple[Part, ...]) -> Decoder:
    return Decoder(parts, PROBES, lambda address: f"at_{address:x}")


def record(
    parts: tuple[Part, ...],
    present: frozenset[str],
    *,
    probe: int = 0,
    kind: int = 2,
    stack: tuple[int, ...] = (),
    packet: bytes | None = None,
) -> bytes:
    """A record as the program would send it."""
    bitmap = sum(1 << n for n, part in enumerate(parts) if part.wire.name in present)
    data = PACKET if packet is None and "packet" in present else packet or b""
    out = struct.pack(
        "=" + HEADER.format,
        123456789, probe, bitmap, 5, 101, 100, len(stack), len(data), kind, b"task\xff\0junk",
    )  # fmt: skip
    for part in parts:
        if part.wire.name in present:
            out += struct.pack("=" + part.wire.format, *VALUES[part.wire.name][0])
    return out + struct.pack(f"={len(stack)}Q", *stack) + data


def section(event: Event, part: Part) -> object:
    found = getattr(event, part.section)
    return getattr(found, part.field) if found is not None and part.field else found


def test_every_combination(parts: tuple[Part, ...]) -> None:
    assert {part.wire.name for part in parts} == VALUES.keys()
    decode_record = decoder(parts).decode
    for size in range(len(VALUES) + 1):
        for present in map(frozenset, itertools.combinations(VALUES, size)):
            event = decode_record(record(parts, present))
            for part in parts:
                found = section(event, part)
                if part.wire.name not in present:
                    assert found is None
                    continue
                for name, value in VALUES[part.wire.name][1].items():
                    assert value is ... or getattr(found, name) == value, (present, name)
            assert (event.packet is None) == ("packet" not in present)
            if event.packet is not None:
                assert event.packet.data == PACKET
            assert event.skb is None or any(p.startswith("skb_") for p in present)
            assert decode(encode(event)) == event


def test_header(parts: tuple[Part, ...]) -> None:
    event = decoder(parts).decode(record(parts, frozenset()))
    assert event.common.timestamp == 123456789
    assert event.common.smp_id == 5
    assert event.common.task is not None
    assert (event.common.task.pid, event.common.task.tgid) == (101, 100)
    assert event.common.task.comm == "task\ufffd"
    assert event.kernel is not None
    assert event.kernel.stack_trace is None


@pytest.mark.parametrize(
    ("kind", "key", "symbol", "kind_text"),
    [
        (2, 0, "skb:kfree_skb", "raw_tracepoint"),
        (2, 3, "net:netif_rx", "raw_tracepoint"),
        (0, IP_RCV, "ip_rcv", "kprobe"),
        (1, IP_RCV, "ip_rcv", "kretprobe"),
        (0, IP_RCV + 4, "ip_rcv", "kprobe"),  # behind an endbr64
    ],
)
def test_probes(parts: tuple[Part, ...], kind: int, key: int, symbol: str, kind_text: str) -> None:
    event = decoder(parts).decode(record(parts, frozenset(), kind=kind, probe=key))
    assert event.kernel is not None
    assert (event.kernel.symbol, event.kernel.probe_type) == (symbol, kind_text)


def test_a_function_4_bytes_on_is_not_taken_for_its_neighbour() -> None:
    near = [Probe(K, name, (), address=a) for name, a in (("first", 0x1000), ("second", 0x1004))]
    for probes in (near, near[::-1]):
        found = ProbeTable(probes).get((0, 0x1004))
        assert found is not None
        assert found.symbol == "second"


def test_stack_and_packet(parts: tuple[Part, ...]) -> None:
    stack = tuple(range(0xFFFFFFFF81000000, 0xFFFFFFFF81000000 + 127))
    event = decoder(parts).decode(record(parts, frozenset({"packet", "dev"}), stack=stack))
    assert event.kernel is not None
    assert event.kernel.stack_trace == [f"at_{address:x}" for address in stack]
    assert event.packet is not None
    assert event.packet.data == PACKET


def test_trailing_bytes_are_padding(parts: tuple[Part, ...]) -> None:
    """Perf buffers pad records."""
    whole = record(parts, frozenset({"packet"}))
    assert decoder(parts).decode(whole + b"\0" * 7) == decoder(parts).decode(whole)


# Records that no program makes


@pytest.mark.parametrize(
    ("kind", "key"), [(2, 1), (2, 99), (0, IP_RCV + 8), (3, 0), (2**32 - 1, 0)]
)
def test_unknown_probe(parts: tuple[Part, ...], kind: int, key: int) -> None:
    with pytest.raises(RetisError, match="a probe that is not attached"):
        decoder(parts).decode(record(parts, frozenset(), kind=kind, probe=key))


@pytest.mark.parametrize("bit", [9, 10, 31])
def test_unknown_parts(parts: tuple[Part, ...], bit: int) -> None:
    raw = bytearray(record(parts, frozenset({"dev"})) + bytes(4096))
    raw[16:20] = (1 << bit).to_bytes(4, "little")
    with pytest.raises(RetisError, match="unknown parts"):
        decoder(parts).decode(bytes(raw))


def test_truncated_anywhere(parts: tuple[Part, ...]) -> None:
    whole = record(parts, frozenset(VALUES), stack=(1, 2, 3))
    decode_record = decoder(parts).decode
    for length in range(len(whole)):
        with pytest.raises(RetisError):
            decode_record(whole[:length])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_bytes(types: Types, data: st.DataObject) -> None:
    parts = tuple(part for c in COLLECTORS for part in c.parts(types))
    raw = bytearray(
        record(parts, frozenset(data.draw(st.sets(st.sampled_from(sorted(VALUES))))), stack=(1,))
    )
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        event = decoder(parts).decode(bytes(raw[:cut]))
    except RetisError:
        return
    assert isinstance(event, Event)
    if event.packet is not None:
        assert event.packet.capture_len == len(event.packet.data)


def test_reasons_are_named_as_btf_names_them(types: Types, parts: tuple[Part, ...]) -> None:
    reasons = Btf.enum(types.vmlinux, "skb_drop_reason") or {}
    event = decoder(parts).decode(record(parts, frozenset({"skb_drop"})))
    assert event.skb_drop is not None
    assert f"SKB_DROP_REASON_{event.skb_drop.drop_reason}" in {
        n for n, v in reasons.items() if v == 2
    }
