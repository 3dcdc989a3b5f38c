"""Capture files of ``retis pcap``, as tshark and tcpdump read them."""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interop import event_strategies
from lab.cli import retis
from retis_py.events.event import Event
from retis_py.events.writer import EventWriter

ROOT = Path(__file__).parents[2]
PACKETS = ROOT / "tests" / "data" / "test_events_packets.json"
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
OFFSET = 1_742_309_146_691_042_000  # ns, of tests/data/test_events_packets.json


class Frame(NamedTuple):
    """A packet as tshark shows it."""

    time: str  # seconds
    interface: str
    description: str
    length: int
    captured: int
    comment: str


FIELDS = (
    "frame.time_epoch",
    "frame.interface_name",
    "frame.interface_description",
    "frame.len",
    "frame.cap_len",
    "frame.comment",
)


def tshark(path: Path, *options: str) -> list[Frame]:
    """All packets: the schema, which tshark shows as one, has no interface."""
    asked = [word for name in FIELDS for word in ("-e", name)]
    run = subprocess.run(
        ["tshark", "-n", "-r", path, "-Y", "frame.interface_name", "-T", "json", *asked, *options],
        capture_output=True,
        check=True,
        timeout=100,
    )
    layers = [packet["_source"]["layers"] for packet in json.loads(run.stdout)]
    frames = []
    for layer in layers:
        values = [layer[name][0] for name in FIELDS]
        values[3:5] = map(int, values[3:5])
        frames.append(Frame(*values))
    return frames


def tcpdump(path: Path, *options: str) -> list[str]:
    run = subprocess.run(
        ["tcpdump", "-tt", "-n", "-r", path, *options], capture_output=True, check=True, timeout=60
    )
    return run.stdout.decode().splitlines()


def pcap(source: Path, out: Path, *options: str) -> Path:
    run = retis("pcap", source, "-o", out, *options, environment=ENVIRONMENT)
    assert run.exit_code == 0, run.stderr
    return out


def seconds(time: int) -> str:
    return f"{time // 10**9}.{time % 10**9:09}"


@pytest.fixture(scope="module")
def events() -> list[Event]:
    lines = PACKETS.read_bytes().splitlines()[1:]
    return [msgspec.json.decode(line, type=Event) for line in lines]


def test_tshark(tmp_path: Path, events: list[Event]) -> None:
    frames = tshark(pcap(PACKETS, tmp_path / "a.pcapng"))
    assert len(frames) == len(events) == 26
    for frame, event in zip(frames, events, strict=True):
        assert event.kernel is not None
        assert event.packet is not None
        name = f"{event.kernel.probe_type}/{event.kernel.symbol}"
        assert frame == Frame(
            seconds(event.common.timestamp + OFFSET),
            name,
            f"Fake interface for probe {name}",
            event.packet.len,
            len(event.packet.data),
            str(event),
        )


def test_tcpdump_reads_pcapng(tmp_path: Path, events: list[Event]) -> None:
    lines = tcpdump(pcap(PACKETS, tmp_path / "a.pcapng"), "--time-stamp-precision=nano")
    times = [seconds(event.common.timestamp + OFFSET) for event in events]
    assert [line.partition(" ")[0] for line in lines] == times


@pytest.mark.parametrize("options", [(), ("-p", "tp:skb:kfree_skb"), ("-f", "src 192.168.125.11")])
def test_classic(tmp_path: Path, events: list[Event], options: tuple[str, ...]) -> None:
    path = pcap(PACKETS, tmp_path / "a.pcap", "--classic", *options)
    assert path.read_bytes()[:4] == b"\xd4\xc3\xb2\xa1"  # microseconds, little-endian
    frames = tshark(pcap(PACKETS, tmp_path / "a.pcapng", *options))
    lines = tcpdump(path, "-e")
    assert len(lines) == len(frames) > 0
    for line, frame in zip(lines, frames, strict=True):
        assert line.partition(" ")[0] == frame.time[:-3]
        assert re.search(r" length (\d+): ", line)[1] == str(frame.length)  # type: ignore[index]


def test_a_selection_that_leaves_nothing(tmp_path: Path) -> None:
    for name, options in (("a.pcapng", ()), ("a.pcap", ("--classic",))):
        path = pcap(PACKETS, tmp_path / name, "-f", "arp", *options)
        assert tcpdump(path) == []
        assert tshark(path) == []


@pytest.mark.parametrize("options", [(), ("--classic",)])
def test_packets_that_are_cut_short_or_empty(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The length on the wire stays, and is never less than what there is."""
    first, line, *_ = PACKETS.read_text().splitlines()
    written = [first]
    for captured, length in ((0, 0), (0, 98), (20, 98), (98, 5)):
        raw = json.loads(line)
        raw["packet"]["len"], raw["packet"]["capture_len"] = length, captured
        # 4 characters of base64 are 3 bytes.
        raw["packet"]["data"] = msgspec.json.decode(msgspec.json.encode(bytes(captured)))
        written.append(json.dumps(raw))
    (tmp_path / "source").write_text("\n".join(written) + "\n")
    path = pcap(tmp_path / "source", tmp_path / "out", *options)
    run = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    found = [tuple(map(int, row.split())) for row in run.stdout.decode().splitlines()]
    assert found[-4:] == [(0, 0), (98, 0), (98, 20), (98, 98)]


@st.composite
def with_packets(draw: st.DrawFn) -> dict[str, Any]:
    raw = draw(event_strategies.events(event_strategies.hostile_names))
    raw.pop("startup", None)
    return raw | {"packet": raw.get("packet") or draw(event_strategies.packets())}


# Each try is two processes: shrinking takes minutes.
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(with_packets(), min_size=5, max_size=20), st.integers(-(2**62), 2**62))
def test_generated_events(raws: list[dict[str, Any]], offset: int) -> None:
    """Whatever is in the events, tshark finds the packets with their times and lengths."""
    events = [msgspec.convert(raw, Event) for raw in raws]
    startup = json.loads(json.dumps(event_strategies.FULL["startup"]))
    startup["clock_monotonic_offset"] = {"sec": 0, "nsec": offset}
    first = msgspec.convert({"common": {"timestamp": 1}, "startup": startup}, Event)
    with tempfile.TemporaryDirectory() as name:
        source, out = Path(name) / "source", Path(name) / "out.pcapng"
        with EventWriter(source) as writer:
            for event in (first, *events):
                writer.write(event)
        frames = tshark(pcap(source, out))
    assert len(frames) == len(events)
    for frame, event in zip(frames, events, strict=True):
        assert event.packet is not None
        time = min(max(event.common.timestamp + offset, 0), 2**64 - 1)
        assert frame.time == seconds(time)
        assert frame.captured == len(event.packet.data)
        length = max(event.packet.len, frame.captured)
        assert frame.length == min(length, 2**31 - 1)  # tshark's own bound
        assert frame.comment == str(event)
