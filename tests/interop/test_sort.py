"""retis sort: series are what the events say, in whatever order, amount and layout they come."""

import json
import os
import random
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.startup import STARTUP
from retis_py.events.jsonl import EventFile
from retis_py.process import sort as sort_module
from retis_py.process import work
from retis_py.process.sort import Sorter
from retis_py.process.windowed_sort import WindowedSorter

retis = pytest.importorskip("retis")

pytestmark = pytest.mark.usefixtures("ways")

Json = dict[str, Any]

COMPACT = (",", ":")


def event(time: int, packet: int | None = None, **sections: Any) -> Json:
    """An event; ``packet`` numbers packets, whose ids are beyond 63 bits."""
    made: Json = {"common": {"timestamp": time, "smp_id": 1}}
    made["kernel"] = {"symbol": f"f{time}", "probe_type": "kprobe"}
    if packet is not None:
        ids = {"orig_head": 2**64 - 1 - packet, "timestamp": 10 + packet, "skb": 2**63 + time}
        made["skb-tracking"] = ids
    return made | {name.replace("_", "-"): section for name, section in sections.items()}


def written(path: Path, events: list[Json], separators: tuple[str, str] = COMPACT) -> Path:
    lines = [json.dumps(each, separators=separators) for each in (STARTUP, *events)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def sorted_by_us(*paths: Path, processes: int = 1) -> list[list[Json]]:
    files = [EventFile(path) for path in paths]
    with Sorter(files, processes=processes) as sorter:
        sorter.read()
        lines = b"".join(sorter.lines())
    for file in files:
        file.close()
    return [json.loads(line) for line in lines.splitlines()]


def expected(events: list[Json]) -> list[list[Json]]:
    """Series by the plain reading of what they are: no Open vSwitch here."""
    series: dict[Any, list[tuple[int, int, Json]]] = defaultdict(list)
    for number, each in enumerate(events):
        ids = each.get("skb-tracking")
        key = number if ids is None else (ids["timestamp"], ids["orig_head"])
        series[key].append((each["common"]["timestamp"], number, each))
    result = [[STARTUP]]
    for _, _, members in sorted(
        (min(members)[:2], number, sorted(members, key=lambda member: member[:2]))
        for number, members in enumerate(series.values())
    ):
        first = members[0][2].get("skb-tracking")
        tracking = (
            {} if first is None else {"tracking": {"skb": first, "idx": index}}
            for index in range(len(members))
        )
        result.append([each | more for (_, _, each), more in zip(members, tracking, strict=True)])
    return result


@st.composite
def captures(draw: st.DrawFn) -> list[Json]:
    """Events of a few packets and of none, in any order, some at the same time."""
    drawn = st.tuples(
        st.integers(1, 60) | st.integers(2**63, 2**64 - 1),
        st.none() | st.integers(0, 6),
        st.booleans(),
    )
    return [
        event(time, packet, **({"dev": {"name": "}],\n{", "ifindex": 1}} if odd else {}))
        for time, packet, odd in draw(st.lists(drawn, max_size=40))
    ]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(captures(), st.sampled_from([COMPACT, (", ", ": ")]))
def test_series_are_complete_whatever_the_order(
    tmp_path: Path, events: list[Json], separators: tuple[str, str]
) -> None:
    path = written(tmp_path / "events", events, separators)
    assert sorted_by_us(path) == expected(events)


def many_events(count: int) -> list[Json]:
    chance = random.Random(7)  # noqa: S311
    events = [
        event(time, chance.choice((None, chance.randrange(time // 5 + 1)))) for time in range(count)
    ]
    # Mostly in order, and some very late.
    for _ in range(count // 20):
        events.insert(chance.randrange(count), events.pop(chance.randrange(count)))
    return events


def test_more_than_memory_should_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = many_events(4000)
    path = written(tmp_path / "events", events)
    monkeypatch.setattr(sort_module, "_MEMORY", 20_000)
    assert sorted_by_us(path) == expected(events)


def test_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = many_events(4000)
    path = written(tmp_path / "events", events)
    monkeypatch.setattr(work, "WORTH_SHARING", 0)
    monkeypatch.setattr(sort_module, "WORTH_SHARING", 0)
    monkeypatch.setattr(work, "_SHARED_PIECE", 10_000)
    assert sorted_by_us(path, processes=3) == expected(events)


def test_a_pipe(tmp_path: Path) -> None:
    events = many_events(500)
    path = tmp_path / "pipe"
    content = written(tmp_path / "events", events).read_bytes()
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    assert sorted_by_us(path) == expected(events)
    writer.join()


def test_files_of_a_rotated_output_are_one(tmp_path: Path) -> None:
    events = many_events(300)
    parts = []
    for number, start in enumerate(range(0, 300, 100)):
        path = written(tmp_path / f"events.{number}", events[start : start + 100])
        lines = path.read_text().splitlines()
        startup = json.loads(lines[0])
        startup["startup"]["split_file"] = {"id": number, "policy": {"kind": "size", "limit": 9}}
        path.write_text("\n".join([json.dumps(startup), *lines[1:]]) + "\n")
        parts.append(path)
    assert sorted_by_us(*parts) == expected(events)


def test_what_nobody_knows_passes_through(tmp_path: Path) -> None:
    events = [event(5, 1, new={"a": [1.5, None]}), event(4, 1), event(3, None, newer=2**64 - 1)]
    assert sorted_by_us(written(tmp_path / "events", events)) == expected(events)


def ovs(kind: str, **fields: int) -> Json:
    return {"ovs": {"event_type": kind} | fields}


def journey(at: int, packet: int, queue: int, cpu: int = 2) -> list[Json]:
    """A packet without a flow: to user space and back, where it is packet + 1000."""
    upcall = {"upcall_ts": at + 1, "upcall_cpu": cpu}
    where = {"batch_ts": at + 4, "batch_idx": 0, "queue_id": queue}
    user = [
        event(at + 4, None, **ovs("recv_upcall", type=0, pkt_size=98, key_size=9, **where)),
        event(at + 5, None, **ovs("flow_operation", op_type="put", **where)),
        event(at + 6, None, **ovs("flow_operation", op_type="exec", **where)),
    ]
    for each in user:
        each["userspace"] = {
            "probe_type": "usdt", "symbol": "a:b", "ip": 1, "path": "/x", "pid": 1, "tid": 1,
        }  # fmt: skip
        del each["kernel"]
    action = {"action": "output", "port": 2, "recirc_id": 0}
    return [
        event(at, packet),
        event(at + 1, packet, **ovs("upcall", cmd=1, port=1, cpu=cpu)),
        # Its probe fires when the function returns: after user space has the message.
        event(at + 8, packet, **ovs("upcall_enqueue", ret=0, cmd=1, port=1, queue_id=queue,
                                    **upcall)),
        *user,
        event(at + 9, packet, **ovs("upcall_return", ret=0, **upcall)),
        event(at + 10, packet + 1000, **ovs("action_execute", queue_id=queue, **action)),
        event(at + 11, packet + 1000),
    ]  # fmt: skip


def times(series: list[list[Json]]) -> list[list[int]]:
    return [[each["common"]["timestamp"] for each in members] for members in series[1:]]


@pytest.mark.parametrize("memory", [64 << 20, 2_000])
def test_packets_are_joined_over_open_vswitch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(sort_module, "_MEMORY", memory)
    journeys = [journey(100 * at, at, queue) for at, queue in ((1, 7), (2, 8), (3, 7), (4, 9))]
    wanted = [sorted(each["common"]["timestamp"] for each in events) for events in journeys]
    events = [each for events in journeys for each in events]
    for seed in range(20):
        random.Random(seed).shuffle(events)  # noqa: S311
        series = sorted_by_us(written(tmp_path / "events", events))
        assert times(series) == wanted
        for number, members in enumerate(series[1:], 1):
            assert [each["tracking"]["idx"] for each in members] == list(range(len(members)))
            assert {each["tracking"]["skb"]["timestamp"] for each in members} == {10 + number}


def test_a_packet_that_goes_to_user_space_twice(tmp_path: Path) -> None:
    first, second = journey(100, 1, 7), journey(200, 1001, 7)
    series = sorted_by_us(written(tmp_path / "events", first + second))
    assert [len(members) for members in series] == [1, len(first + second)]


def test_a_packet_that_joins_another_while_it_is_handed_to_user_space(tmp_path: Path) -> None:
    """Its upcall was noted by the id that it had before, which must not become that of both."""
    upcall, back = {"upcall_ts": 5, "upcall_cpu": 1}, {"upcall_ts": 20, "upcall_cpu": 2}
    events = [
        event(5, 2, **ovs("upcall", cpu=1)),
        event(6, 2, **ovs("upcall_enqueue", queue_id=7, **upcall)),
        event(20, 1, **ovs("upcall", cpu=2)),
        event(22, 1, **ovs("action_execute", queue_id=7)),
        event(24, 1, **ovs("upcall_return", **back)),
        event(25, 1),
    ]
    series = sorted_by_us(written(tmp_path / "events", events))
    assert times(series) == [[5, 6, 20, 22, 24, 25]]


def test_what_is_lost_of_a_journey_is_told(tmp_path: Path) -> None:
    events = [each for each in journey(100, 1, 7) if "upcall_enqueue" not in str(each)]
    with EventFile(written(tmp_path / "events", events)) as file, Sorter([file]) as sorter:
        sorter.read()
        assert len(list(b"".join(sorter.lines()).splitlines())) == 1 + 1 + 3 + 1
        assert sorter.lost == {"recv_upcall": 1, "flow_operation": 2, "action_execute": 1}


def test_flows_are_told_in_earlier_and_later_lookups(tmp_path: Path) -> None:
    flow = {"flow": 2**64 - 1, "sf_acts": 4, "ufid": [1, 2, 3, 4]}
    lookup = flow | {"n_mask_hit": 1, "n_cache_hit": 0, "dpflow": "", "ofpflows": []}
    found = {"dpflow": "in_port(1)", "ofpflows": ["table=0", "table=1"]}
    events = [
        event(5, 1, ovs={"event_type": "flow_lookup"} | lookup),
        event(6, None, ovs_detrace=flow | found),
        event(7, 2, ovs={"event_type": "flow_lookup"} | lookup),
        event(8, 3, ovs={"event_type": "flow_lookup"} | lookup | {"sf_acts": 5}),
    ]
    for separators in (COMPACT, (", ", ": ")):
        series = sorted_by_us(written(tmp_path / "events", events, separators))
        texts = [members[0]["ovs"]["dpflow"] for members in series[1:] if "ovs" in members[0]]
        assert texts == ["in_port(1)", "in_port(1)", ""]
        assert series[1][0]["ovs"]["ofpflows"] == found["ofpflows"]


def test_the_reference_reads_what_is_sorted(tmp_path: Path) -> None:
    path = tmp_path / "sorted"
    source = Path(__file__).parents[1] / "data" / "test_events_packets.json"
    text = source.read_text().splitlines()
    first = json.loads(text[0])
    first["startup"] = STARTUP["startup"]
    unsorted = tmp_path / "events"
    unsorted.write_text("\n".join([json.dumps(first), *text[1:]]) + "\n")
    run = [sys.executable, "-m", "retis_py"]
    subprocess.run([*run, "sort", unsorted, "-o", path], check=True)
    theirs = [[str(each) for each in members] for members in retis.SeriesReader(str(path))]
    with EventFile(path) as file:
        assert [[str(each) for each in members] for members in file.series()] == theirs
    assert sum(map(len, theirs)) == len(text)


def windowed(path: Path, max_events: int) -> list[list[Json]]:
    with EventFile(path) as file:
        lines = b"".join(WindowedSorter([file], max_events).lines())
    return [json.loads(line) for line in lines.splitlines()]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(captures(), st.integers(1, 60))
def test_a_window(tmp_path: Path, events: list[Json], size: int) -> None:
    """Every event comes out once; in one that holds all, the series are complete."""
    found = windowed(written(tmp_path / "events", events), size)
    assert found[0] == [STARTUP]
    given_out = [each for members in found[1:] for each in members]
    for each in given_out:
        each.pop("tracking", None)
    assert sorted(map(json.dumps, given_out)) == sorted(map(json.dumps, events))
    if size >= len(events):
        assert windowed(tmp_path / "events", size) == expected(events)


def test_a_window_of_one_event_holds_no_series(tmp_path: Path) -> None:
    events = [event(5, 1), event(6, 2), event(7, 1)]
    found = windowed(written(tmp_path / "events", events), 1)
    assert times(found) == [[5], [6], [7]]
