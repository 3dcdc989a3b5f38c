"""Blocks of pcapng, read back by a parser that follows the specification."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop import event_strategies
from lab.pcapng_blocks import CUSTOM, INTERFACE, SECTION_HEADER, Section, read_section
from retis_py.events.escape import escape
from retis_py.events.event import Event, encode
from retis_py.events.schema import event_schema
from retis_py.process.event_probe import EventProbe, event_probe
from retis_py.process.pcapng import RETIS_PEN, SNAPLEN, PcapngWriter

PROBE = EventProbe("kprobe", "ip_rcv")


def made(**sections: Any) -> Event:
    raw = {"common": {"timestamp": 1}, "packet": {"len": 60, "capture_len": 2, "data": "QUI="}}
    return msgspec.convert(raw | sections, Event)


def with_packet(data: bytes, length: int) -> Event:
    event = made()
    assert event.packet is not None
    event.packet.data, event.packet.len = data, length
    return event


def written(
    *events: Event, probe: EventProbe | None = PROBE, time: int = 5, **options: bool
) -> tuple[Section, PcapngWriter]:
    pieces: list[bytes] = []
    writer = PcapngWriter(pieces.append, **options)
    for event in events:
        assert event.packet is not None
        writer.packet(event, event.packet, probe, time)
    writer.finish()
    return read_section(b"".join(pieces)), writer


def test_blocks_of_a_packet() -> None:
    section, writer = written(made())
    assert section.kinds[:3] == [SECTION_HEADER, CUSTOM, INTERFACE]
    assert len(section.kinds) == 4
    (interface,) = section.interfaces
    assert interface.name == "kprobe/ip_rcv"
    assert interface.description == "Fake interface for probe kprobe/ip_rcv"
    assert (interface.link_type, interface.snaplen, interface.ticks) == (1, 65535, 10**9)
    (packet,) = section.packets
    assert (packet.time, packet.original, packet.data) == (5, 60, b"AB")
    assert packet.comments == [str(made())]
    assert packet.custom == [(70000, '{"common":{"timestamp":1}}')]
    assert (writer.packets, writer.data_size) == (1, 2)


def test_the_schema_is_all_of_the_custom_block() -> None:
    section, _ = written(made())
    ((enterprise, data),) = section.custom
    assert enterprise == RETIS_PEN == 70000
    assert json.loads(data) == event_schema()


def test_the_event_keeps_its_packet() -> None:
    event = made()
    written(event)
    assert event == made()


@st.composite
def events_with_packets(draw: st.DrawFn) -> dict[str, Any]:
    raw = draw(event_strategies.events(event_strategies.hostile_names))
    return raw | {"packet": raw.get("packet") or draw(event_strategies.packets())}


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events_with_packets(), max_size=4), st.integers(0, 2**64 - 1))
def test_generated_events(raws: list[dict[str, Any]], time: int) -> None:
    events = [msgspec.convert(raw, Event) for raw in raws]
    pieces: list[bytes] = []
    writer = PcapngWriter(pieces.append)
    for event in events:
        assert event.packet is not None
        writer.packet(event, event.packet, event_probe(event), time)
    writer.finish()
    section = read_section(b"".join(pieces))
    assert len(section.interfaces) == len({event_probe(event) for event in events})
    for event, packet in zip(events, section.packets, strict=True):
        assert event.packet is not None
        assert packet.time == time
        assert packet.data == event.packet.data
        assert packet.original == max(event.packet.len, len(event.packet.data))
        assert packet.comments == [str(event)]
        ((enterprise, text),) = packet.custom
        assert enterprise == RETIS_PEN
        expected = json.loads(encode(event))
        del expected["packet"]
        assert json.loads(text) == expected
    assert all(escape(interface.name) == interface.name for interface in section.interfaces)


@pytest.mark.parametrize("time", [-1, -(2**63), 2**64, 2**65])
def test_times_that_do_not_fit(time: int) -> None:
    section, writer = written(made(), time=time)
    assert section.packets[0].time == (0 if time < 0 else 2**64 - 1)
    assert writer.clamped == 1


@pytest.mark.parametrize("time", [0, 2**64 - 1])
def test_times_at_the_ends(time: int) -> None:
    section, writer = written(made(), time=time)
    assert section.packets[0].time == time
    assert writer.clamped == 0


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, SNAPLEN])
def test_sizes(size: int) -> None:
    section, writer = written(with_packet(b"x" * size, 70000))
    assert section.packets[0].data == b"x" * size
    assert section.packets[0].original == 70000
    assert writer.data_size == size


def test_more_than_the_interface_takes_is_cut_off() -> None:
    section, writer = written(with_packet(b"x" * (SNAPLEN + 1), 10))
    assert len(section.packets[0].data) == SNAPLEN == writer.data_size
    assert section.packets[0].original == SNAPLEN + 1


def texts_of(size: int) -> tuple[Section, PcapngWriter]:
    """A packet of an event whose text or JSON is large, by a symbol of that many bytes."""
    return written(made(kernel={"symbol": "é" * (size // 2), "probe_type": "kprobe"}))


def test_a_long_comment_is_cut_between_characters() -> None:
    section, writer = texts_of(70000)
    (comment,) = section.packets[0].comments
    assert 65530 <= len(comment.encode()) <= 65535
    assert comment.startswith("1 [k] éé")
    assert comment.endswith("é…")
    assert writer.cut == 1


def test_json_that_is_too_long_is_left_out() -> None:
    """Half an object is worth nothing."""
    section, writer = texts_of(70000)
    assert section.packets[0].custom == []
    assert writer.unannotated == 1


def test_the_longest_json_that_fits() -> None:
    frame = len(b'{"common":{"timestamp":1},"kernel":{"symbol":"","probe_type":"kprobe"}}')
    for size, kept in ((65531 - frame, 1), (65532 - frame, 0)):
        section, writer = written(made(kernel={"symbol": "x" * size, "probe_type": "kprobe"}))
        assert len(section.packets[0].custom) == kept
        assert writer.unannotated == 1 - kept
        assert writer.cut == 0


def test_names_of_probes() -> None:
    section, _ = written(made(), probe=EventProbe("kprobe", "\x1b]0;owned\x07\n"))
    assert section.interfaces[0].name == "kprobe/\\x1b]0;owned\\x07\\x0a"
    section, _ = written(made(), probe=EventProbe("kprobe", "x" * 70000))
    assert len(section.interfaces[0].name.encode()) == 65535
    section, _ = written(made(), probe=None)
    assert section.interfaces[0].name == "unknown"


def test_without_annotations() -> None:
    section, _ = written(made(), made(), annotate=False)
    assert section.custom == []
    assert [packet.comments + packet.custom for packet in section.packets] == [[], []]


def test_interfaces_are_described_once_and_when_they_come_up() -> None:
    pieces: list[bytes] = []
    writer = PcapngWriter(pieces.append, annotate=False)
    event = made()
    assert event.packet is not None
    others = [EventProbe("usdt", "dpif_recv:recv_upcall"), PROBE]
    for probe in (PROBE, *others):
        writer.packet(event, event.packet, probe, 1)
    writer.finish()
    section = read_section(b"".join(pieces))
    assert [interface.name for interface in section.interfaces] == [
        "kprobe/ip_rcv",
        "usdt/dpif_recv:recv_upcall",
    ]
    assert [packet.interface.name for packet in section.packets] == [
        "kprobe/ip_rcv",
        "usdt/dpif_recv:recv_upcall",
        "kprobe/ip_rcv",
    ]
    assert section.kinds == [SECTION_HEADER, 1, 6, 1, 6, 6]


def test_large_output_comes_in_pieces() -> None:
    pieces: list[bytes] = []
    writer = PcapngWriter(pieces.append)
    event = with_packet(b"x" * 1000, 1000)
    assert event.packet is not None
    writer.packet(event, event.packet, PROBE, 1)
    assert pieces == []
    for _ in range(999):
        writer.packet(event, event.packet, PROBE, 1)
    writer.finish()
    assert len(pieces) > 5
    assert max(map(len, pieces)) < 256 << 10
    assert len(read_section(b"".join(pieces)).packets) == 1000
