"""Which events become packets, and when."""

from typing import Any

import msgspec
import pytest

from lab.pcapng_blocks import Section, read_section
from retis_py.errors import RetisError
from retis_py.events.event import Event
from retis_py.process.packet_export import (
    ExportedPackets,
    export_packets,
    probes_with_packets,
)
from retis_py.process.pcapng import PcapngWriter
from retis_py.process.select import Selection
from retis_py.process.where import compile_where

PACKET = {"len": 60, "capture_len": 2, "data": "QUI="}
FUNCTION = {"symbol": "ip_rcv", "probe_type": "kprobe"}
TRACEPOINT = {"symbol": "skb:kfree_skb", "probe_type": "raw_tracepoint"}


def event(timestamp: int = 1, **sections: Any) -> Event:
    return msgspec.convert({"common": {"timestamp": timestamp}} | sections, Event)


def startup(seconds: int, **sections: Any) -> Event:
    section = {
        "retis_version": "v1.7.0",
        "cmdline": "retis collect",
        "clock_monotonic_offset": {"sec": seconds, "nsec": 7},
        "machine": {"kernel_release": "", "kernel_version": "", "hardware_name": ""},
    }
    return event(startup=section, **sections)


def exported(*events: Event, **options: Any) -> tuple[Section, ExportedPackets]:
    pieces: list[bytes] = []
    writer = PcapngWriter(pieces.append)
    result = export_packets(events, writer, **options)
    writer.finish()
    return read_section(b"".join(pieces)), result


def failure(*events: Event, **options: Any) -> str:
    pieces: list[bytes] = []
    with pytest.raises(RetisError) as caught:
        export_packets(events, PcapngWriter(pieces.append), **options)
    assert pieces == []
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_order_times_and_interfaces() -> None:
    section, result = exported(
        startup(1000),
        event(30, packet=PACKET, kernel=FUNCTION),
        event(20, packet=PACKET, kernel=TRACEPOINT),
        event(25, kernel=TRACEPOINT),
        event(10, packet=PACKET, kernel=FUNCTION),
    )
    assert [(p.time, p.interface.name) for p in section.packets] == [
        (1000_000_000_037, "kprobe/ip_rcv"),
        (1000_000_000_027, "raw_tracepoint/skb:kfree_skb"),
        (1000_000_000_017, "kprobe/ip_rcv"),
    ]
    assert (result.events, result.without_packet) == (4, 1)
    assert list(result.probes.values()) == [2, 1]


def test_each_rotated_file_has_its_own_clock_offset() -> None:
    section, _ = exported(
        startup(1000), event(3, packet=PACKET), startup(2000), event(3, packet=PACKET)
    )
    assert [packet.time for packet in section.packets] == [1000_000_000_010, 2000_000_000_010]


def test_a_startup_event_with_a_packet() -> None:
    section, _ = exported(startup(1, packet=PACKET))
    assert [packet.time for packet in section.packets] == [1_000_000_008]


def test_one_probe() -> None:
    section, result = exported(
        startup(0),
        event(1, packet=PACKET, kernel=FUNCTION),
        event(2, packet=PACKET, kernel=TRACEPOINT),
        event(3, kernel=FUNCTION),
        event(4, kernel=TRACEPOINT),
        wanted="tp:skb:kfree_skb",
    )
    assert [packet.time for packet in section.packets] == [9]
    assert [interface.name for interface in section.interfaces] == ["raw_tracepoint/skb:kfree_skb"]
    assert result.without_packet == 1


def test_a_selection() -> None:
    events = [event(time, packet=PACKET, kernel=FUNCTION) for time in (1, 2, 3)]
    section, _ = exported(
        *events, selection=Selection(where=compile_where("common.timestamp != 2"))
    )
    assert [packet.time for packet in section.packets] == [1, 3]


def test_an_empty_selection_is_a_capture_without_packets() -> None:
    """With an interface: libpcap reads no file without."""
    section, _ = exported(
        event(packet=PACKET, kernel=FUNCTION),
        selection=Selection(packet_filter=lambda _data, _length: False),
    )
    assert section.packets == []
    assert [interface.name for interface in section.interfaces] == ["kprobe/ip_rcv"]


def test_no_packets_at_all() -> None:
    message = failure(startup(1), event(kernel=FUNCTION))
    assert message == (
        "there are no packets in the file: none of its 1 events has one; collect them with the"
        " collector 'skb'"
    )
    assert failure(startup(1), event(kernel=FUNCTION), wanted="k:nope") == message


def test_a_probe_that_is_not_there() -> None:
    events = [event(packet=PACKET, kernel=kernel) for kernel in (FUNCTION, TRACEPOINT, TRACEPOINT)]
    assert failure(*events, wanted="k:nope") == (
        "no event in the file is of probe 'k:nope'; there are packets of"
        " raw_tracepoint/skb:kfree_skb, kprobe/ip_rcv"
    )


def test_a_probe_without_packets() -> None:
    events = [event(kernel=FUNCTION), event(packet=PACKET, kernel=TRACEPOINT)]
    assert failure(*events, wanted="k:ip_rcv") == (
        "no event in the file of probe 'k:ip_rcv' has a packet; there are packets of"
        " raw_tracepoint/skb:kfree_skb"
    )


def test_packets_without_a_probe_are_no_probes() -> None:
    assert failure(event(packet=PACKET), wanted="unknown") == (
        "no event in the file is of probe 'unknown'; there are packets of no probe"
    )


def test_a_long_list_of_probes() -> None:
    kernels = [{"symbol": f"f{number:02}\n", "probe_type": "kprobe"} for number in range(30)]
    message = failure(*(event(packet=PACKET, kernel=kernel) for kernel in kernels), wanted="x")
    assert "kprobe/f00\\x0a, kprobe/f01\\x0a" in message
    assert message.endswith("kprobe/f19\\x0a and 10 more")


def test_probes_with_packets() -> None:
    events = [
        startup(1),
        event(packet=PACKET, kernel=FUNCTION),
        event(packet=PACKET, kernel=TRACEPOINT),
        event(packet=PACKET, kernel=TRACEPOINT),
        event(packet=PACKET),
        event(kernel=FUNCTION | {"symbol": "f"}),
    ]
    found = probes_with_packets(events)
    assert [str(probe) for probe in found] == ["raw_tracepoint/skb:kfree_skb", "kprobe/ip_rcv"]
