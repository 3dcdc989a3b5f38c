"""``stats`` counts what the reference reader sees."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop.event_strategies import FULL, Json, events, hostile_names, names
from retis_py.events.jsonl import EventFile
from retis_py.process.stats import Stats, Tables
from retis_py.process.stats_lines import CountLines
from retis_py.process.work import work_through

retis = pytest.importorskip("retis")

pytestmark = pytest.mark.usefixtures("ways")

DATA = Path(__file__).parent.parent / "data"
STARTUP: Json = {"common": {"timestamp": 1}, "startup": FULL["startup"]}

moderate = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def counted(path: Path) -> Tables:
    with EventFile(path) as file:
        stats = Stats(is_sorted=file.sorted)
        for _, piece in work_through(file, CountLines(file.format, keep_going=False)):
            stats.add(piece, file.startup.clock_monotonic_offset.ns)
    return stats.tables(1 << 20)


def modelled(path: Path) -> list[Json]:
    """All events as the reference gives them, but startup events."""
    read = retis.EventFile(str(path))
    series = list(read.series()) if read.sorted() else [[event] for event in read.events()]
    all_events = [event.to_dict() for each in series for event in each]
    return [event for event in all_events if "startup" not in event]


def same(tables: Tables, model: list[Json]) -> None:
    times = [event["common"]["timestamp"] for event in model]
    assert tables.events == len(model)
    first, last = tables.first_event, tables.last_event
    assert (first and first.timestamp) == min(times, default=None)
    assert (last and last.timestamp) == max(times, default=None)

    probes = Counter(
        (probe["probe_type"], probe["symbol"])
        for event in model
        if (probe := event.get("kernel") or event.get("userspace"))
    )
    assert {(each.type, each.symbol): each.events for each in tables.probes} == probes
    assert [each.events for each in tables.probes] == sorted(probes.values(), reverse=True)

    drops = Counter(
        (event["skb-drop"].get("subsys"), event["skb-drop"]["drop_reason"])
        for event in model
        if "skb-drop" in event
    )
    assert {(each.subsys, each.reason): each.events for each in tables.drops} == drops

    def namespace(event: Json) -> tuple[Any, Any]:
        ns = event.get("netns", {})
        return ns.get("inum"), ns.get("cookie")

    namespaces = Counter(namespace(event) for event in model if "netns" in event)
    assert {(each.inum, each.cookie): each.events for each in tables.namespaces} == namespaces
    devices = Counter(
        (event["dev"]["name"], event["dev"]["ifindex"], *namespace(event))
        for event in model
        if "dev" in event
    )
    told = {(dev.name, dev.ifindex, dev.inum, dev.cookie): dev.events for dev in tables.devices}
    assert told == devices
    same_packets(tables, model)


def same_packets(tables: Tables, model: list[Json]) -> None:
    lengths: dict[Any, int] = {}
    for number, event in enumerate(model):
        if "packet" in event:
            ids = event.get("skb-tracking")
            key = (ids["timestamp"], ids["orig_head"]) if ids else number
            lengths.setdefault(key, event["packet"]["len"])
    packets = tables.packets
    assert (packets.packets, packets.bytes) == (len(lengths), sum(lengths.values()))
    for talkers in (packets.by_bytes, packets.by_packets):
        assert talkers.others.conversations == 0
        named = sum(talker.bytes for talker in talkers.top)
        assert named + talkers.others.bytes == packets.bytes


def write(path: Path, lines: list[Any], separators: tuple[str, str] | None) -> Path:
    text = "".join(json.dumps(line, separators=separators) + "\n" for line in lines)
    path.write_text(text)
    return path


@moderate
@given(
    st.lists(events(st.one_of(names, hostile_names)), max_size=8),
    st.sampled_from((None, (",", ":"))),
    st.lists(st.integers(0, 8), max_size=3),
)
def test_generated_events(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[Json],
    separators: tuple[str, str] | None,
    cuts: list[int],
) -> None:
    plain = [event for event in drawn if "startup" not in event] + [FULL | {"startup": None}]
    plain[-1].pop("startup")
    folder = tmp_path_factory.mktemp("stats")
    path = write(folder / "events", [STARTUP, *plain], separators)
    unsorted = counted(path)
    same(unsorted, modelled(path))
    assert unsorted.series is None

    bounds = sorted({0, len(plain), *(cut for cut in cuts if cut < len(plain))})
    series = [plain[start:end] for start, end in pairwise(bounds)]
    path = write(folder / "series", [[STARTUP], *series], separators)
    grouped = counted(path)
    same(grouped, modelled(path))
    assert grouped.series == len(series)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.name)
def test_data(path: Path) -> None:
    same(counted(path), modelled(path))
