"""A sort in one pass gives what the sort in two passes gives, or nothing."""

import io
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retis_py.events.jsonl import EventFile
from retis_py.process import chunk_sort, sort
from retis_py.process.sort import Sorter

STARTUP = {
    "common": {"timestamp": 1},
    "startup": {
        "retis_version": "v1.7.0",
        "cmdline": "retis collect",
        "clock_monotonic_offset": {"sec": 0, "nsec": 0},
        "machine": {"kernel_release": "", "kernel_version": "", "hardware_name": ""},
    },
}
START = 1_000_000


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "CHUNK", 8 << 10)
    monkeypatch.setattr(chunk_sort, "_BEFORE", 2 << 10)
    monkeypatch.setattr(chunk_sort, "_AFTER", 6 << 10)
    monkeypatch.setattr(chunk_sort, "_NEAR", 1 << 10)


def event(time: int, seen: int | None = None, head: int = 1, **sections: Any) -> dict[str, Any]:
    common = {"timestamp": time, "smp_id": 0}
    kernel = {"kernel": {"symbol": "net:netif_rx", "probe_type": "raw_tracepoint"}}
    ids = {} if seen is None else {"skb-tracking": {"orig_head": head, "timestamp": seen, "skb": 7}}
    return {"common": common} | kernel | ids | sections


def flow(packets: int, spread: int, seed: int = 0) -> list[dict[str, Any]]:
    """Events of packets that are first seen every 10 ns, and last for up to ``spread`` ns."""
    draw = random.Random(seed)  # noqa: S311 (no secret)
    events = []
    for number in range(packets):
        seen = START + number * 10
        later = draw.sample(range(1, spread), k=min(spread - 1, draw.randrange(1, 6)))
        events += [event(seen + after, seen, head=number) for after in (0, *later)]
    return sorted(events, key=lambda event: event["common"]["timestamp"])


def both_ways(path: Path, events: list[dict[str, Any]]) -> tuple[bytes | None, bytes]:
    """Sort in one pass and in two."""
    raw = [msgspec.json.encode(event) for event in events]
    path.write_bytes(b"\n".join([msgspec.json.encode(STARTUP), *raw, b""]))
    target = io.BytesIO()
    with EventFile(path) as file, Sorter([file]) as sorter:
        done = sorter._write_chunks(target, None)
        first_lost = dict(sorter.lost)
    with EventFile(path) as file, Sorter([file]) as sorter:
        sorter.read()
        expected = b"".join(sorter.lines())
        if done:
            assert first_lost == dict(sorter.lost)
    if not done:
        assert target.getvalue() == b""
    return (target.getvalue() if done else None), expected


@pytest.mark.parametrize("spread", [3, 30, 60])
def test_one_pass_is_enough_for_what_is_nearly_in_order(tmp_path: Path, spread: int) -> None:
    once, twice = both_ways(tmp_path / "events", flow(2000, spread))
    assert once is not None
    assert once == twice


def test_times_may_be_out_of_order_a_little(tmp_path: Path) -> None:
    events = flow(2000, 30)
    draw = random.Random(1)  # noqa: S311 (no secret)
    order = sorted(range(len(events)), key=lambda place: place + draw.uniform(0, 8))
    once, twice = both_ways(tmp_path / "events", [events[place] for place in order])
    assert once is not None
    assert once == twice


def test_a_late_event_is_noticed(tmp_path: Path) -> None:
    events = flow(2000, 30)
    late = event(
        events[-1]["common"]["timestamp"] + 1, START, events[0]["skb-tracking"]["orig_head"]
    )
    assert both_ways(tmp_path / "events", [*events, late])[0] is None


def test_an_early_event_is_noticed(tmp_path: Path) -> None:
    events = flow(2000, 30)
    events.insert(5, events.pop())
    assert both_ways(tmp_path / "events", events)[0] is None


@pytest.mark.parametrize(
    "damaged",
    [
        b"garbage",
        b"",
        b'{"common":{"timestamp":1000005,"task":{"pid":1',
        b'{ "common": {"timestamp": 5}}',
    ],
)
def test_another_layout_is_noticed(tmp_path: Path, damaged: bytes) -> None:
    raw = [msgspec.json.encode(event) for event in flow(100, 30)]
    raw.insert(50, damaged)
    path = tmp_path / "events"
    path.write_bytes(b"\n".join([msgspec.json.encode(STARTUP), *raw, b""]))
    with EventFile(path, keep_going=True) as file, Sorter([file], keep_going=True) as sorter:
        assert not sorter._write_chunks(io.BytesIO(), None)


def test_events_that_stand_alone_keep_their_place(tmp_path: Path) -> None:
    events = flow(1000, 30)
    events += [event(START + number * 7 + 3) for number in range(300)]
    events.sort(key=lambda event: event["common"]["timestamp"])
    once, twice = both_ways(tmp_path / "events", events)
    assert once is not None
    assert once == twice


def test_packets_are_joined_over_user_space(tmp_path: Path) -> None:
    events = flow(1500, 20)
    for number in range(120):
        at = START + number * 100 + 3
        upcall = {"upcall_ts": at, "upcall_cpu": 1}
        queued = {"queue_id": number}
        kinds: list[dict[str, Any]] = [
            {"event_type": "upcall", "cmd": 1, "port": 1, "cpu": 1},
            {"event_type": "upcall_enqueue", "ret": 0, "cmd": 1, **upcall, **queued},
            {"event_type": "upcall_return", "ret": 0, **upcall},
            {"event_type": "recv_upcall", "batch_ts": 1, "batch_idx": 0, **queued},
            {"event_type": "action_execute", "action": "output", "port": 1, "recirc_id": 0}
            | queued,
        ]
        ids = [(at, 900), (at, 900), (at, 900), (None, 0), (at + 4, 901)]
        events += [
            event(at + after, *key, ovs=kind)
            for after, (key, kind) in enumerate(zip(ids, kinds, strict=True))
        ]
        events.append(event(at + 6, at + 4, 901))
    events.sort(key=lambda event: event["common"]["timestamp"])
    once, twice = both_ways(tmp_path / "events", events)
    assert once is not None
    assert once == twice


@given(
    packets=st.integers(20, 120),
    spread=st.integers(2, 400),
    moved=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(-400, 400)), max_size=5),
    seed=st.integers(0, 1 << 16),
)
def test_an_answer_is_always_right(
    tmp_path_factory: pytest.TempPathFactory,
    packets: int,
    spread: int,
    moved: list[tuple[int, int]],
    seed: int,
) -> None:
    events = flow(packets, spread, seed)
    for number, by in moved:
        place = number % len(events)
        events.insert(max(0, place + by), events.pop(place))
    once, twice = both_ways(tmp_path_factory.mktemp("sort") / "events", events)
    if once is not None:
        assert once == twice
