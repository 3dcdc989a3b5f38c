"""Events read by us and by the reference reader are the same events with the same text."""

import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop.event_strategies import FULL, OVS_KINDS, Json, events, hostile_names
from interop.panics import quiet_stderr
from retis_py.events.event import decode
from retis_py.events.jsonl import EventFile
from retis_py.events.writer import EventWriter

retis = pytest.importorskip("retis")

DATA = Path(__file__).parent.parent / "data"
CURRENT: Json = {"common": {"timestamp": 1}, "startup": FULL["startup"]}

Seen = tuple[Json, str | None]
batches = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def write_lines(path: Path, objects: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    return path


def reference_text(event: Any) -> str | None:
    """Text of an event; None where the reference panics on its packet."""
    try:
        return str(event)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return None


def read_by_reference(path: Path) -> list[Seen]:
    file = retis.EventFile(str(path))
    if file.sorted():
        found = [event for series in file.series() for event in series]
    else:
        found = list(file.events())
    with quiet_stderr():
        return [(event.to_dict(), reference_text(event)) for event in found]


def read_by_us(path: Path) -> list[Seen]:
    with EventFile(path) as file:
        return [(event.to_dict(), str(event)) for event in file.events()]


def assert_same(ours: list[Seen], reference: list[Seen]) -> None:
    assert len(ours) == len(reference)
    for (our_dict, our_text), (reference_dict, their_text) in zip(ours, reference, strict=True):
        assert our_dict == reference_dict
        if their_text is not None:
            assert our_text == their_text


def refused_by_reference(path: Path) -> bool:
    try:
        list(retis.EventFile(str(path)).events())
    except RuntimeError:
        return True
    return False


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events") / "retis.data"


@pytest.mark.parametrize("name", ["test_events", "test_events_packets", "test_events_sorted"])
def test_files_of_other_machines(name: str) -> None:
    file = DATA / f"{name}.json"
    assert_same(read_by_us(file), read_by_reference(file))


@batches
@given(drawn=st.lists(events(), min_size=1, max_size=8))
def test_generated_events(path: Path, drawn: list[Json]) -> None:
    write_lines(path, [CURRENT, *drawn])
    reference = read_by_reference(path)
    assert_same(read_by_us(path), reference)


@batches
@given(drawn=st.lists(events(), min_size=1, max_size=8))
def test_the_reference_reads_what_we_write(path: Path, drawn: list[Json]) -> None:
    write_lines(path, [CURRENT, *drawn])
    reference = read_by_reference(path)
    with EventFile(path) as file:
        typed = list(file.events())
    with EventWriter(path) as writer:
        for event in typed:
            writer.write(event)
    assert read_by_reference(path) == reference


@batches
@given(drawn=st.lists(st.lists(events(), min_size=1, max_size=4), min_size=1, max_size=3))
def test_sorted_files(path: Path, drawn: list[list[Json]]) -> None:
    write_lines(path, [[CURRENT], *drawn])
    reference = read_by_reference(path)
    assert_same(read_by_us(path), reference)
    with EventFile(path) as file:
        series = list(file.series())
    assert [len(each) for each in series] == [1, *(len(each) for each in drawn)]
    with EventWriter(path) as writer:
        for each in series:
            writer.write_series(each)
    assert read_by_reference(path) == reference


@batches
@given(drawn=st.lists(events(hostile_names), min_size=1, max_size=8))
def test_hostile_strings_are_kept_in_data_and_never_shown(path: Path, drawn: list[Json]) -> None:
    write_lines(path, [CURRENT, *drawn])
    ours = read_by_us(path)
    assert [data for data, _ in ours] == [data for data, _ in read_by_reference(path)]
    for _, text in ours:
        assert text is not None
        shown = text.replace("\n", "")
        assert not any(char < " " or "\x7f" <= char <= "\x9f" for char in shown)
        assert not set(shown) & set("\u202e\u2028\u200b")


def test_unknown_keys_are_skipped_everywhere(path: Path) -> None:
    def with_unknown(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_unknown(each) for key, each in value.items()} | {"new-in-1.9": [None]}
        return value

    event = with_unknown(FULL)
    for proto in (event["ct"], event["ct"]["parent"]):
        for direction in ("orig", "reply"):
            del proto[direction]["proto"]["new-in-1.9"]  # a tuple has one protocol
    write_lines(path, [CURRENT, event])
    assert read_by_us(path)[1] == read_by_reference(path)[1]
    assert read_by_us(path)[1][0] == FULL


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value in an event with the keys that lead to it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield (*at, key), each
            yield from leaves(each, (*at, key))


def changed(event: Json, keys: tuple[Any, ...], value: Any) -> Json:
    event = deepcopy(event)
    parent = event
    for key in keys[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[keys[-1]]
    else:
        parent[keys[-1]] = value
    return event


def refused_by_us(event: Json) -> bool:
    try:
        decode(json.dumps(event))
    except msgspec.ValidationError:
        return True
    return False


VARIANTS = [FULL, *(changed(FULL, ("ovs",), kind) for kind in OVS_KINDS)]
NUMBERS = [
    sign * 2**bits + by for bits in (8, 16, 31, 32, 63) for sign in (1, -1) for by in (-1, 0)
]
OTHER = [..., None, True, "x", 1.5, [], {}, -1, 0, 2**64 - 1]
PROTOS = [
    ("ct", *parent, way, "proto") for parent in ((), ("parent",)) for way in ("orig", "reply")
]
DIFFERENT = {
    # The reference panics on these.
    (("common",), str(...)),
    (("common",), "None"),
    # We read protocols that we do not know, to show the rest of the event.
    *((keys, "{}") for keys in PROTOS),
    *(((*keys, "tcp"), str(other)) for keys in PROTOS for other in (..., None)),
    # To the reference a mistyped action is an unknown one.
    *((("ovs", "action"), str(other)) for other in (True, 1.5, [], {}, -1, 0, 2**64 - 1)),
}


@pytest.mark.parametrize("event", VARIANTS, ids=lambda event: event["ovs"]["event_type"])
def test_missing_and_mistyped_fields_are_refused_alike(path: Path, event: Json) -> None:
    """Each field in turn out of its range, of another type, null and missing."""
    tried = 0
    for keys, value in leaves(event):
        if event is not FULL and keys[0] != "ovs":
            continue
        number = isinstance(value, int) and not isinstance(value, bool)
        for other in OTHER + (NUMBERS if number else []):
            if (keys, str(other)) in DIFFERENT:
                continue
            bad = changed(event, keys, other)
            write_lines(path, [CURRENT, bad])
            assert refused_by_us(bad) == refused_by_reference(path), (keys, other)
            tried += 1
    assert tried > 50


TUPLE_FIELDS = {key: FULL["ct"][key] for key in ("orig", "reply", "zone_id", "zone_dir")}
PACKET = {"len": 60, "capture_len": 2}
OLD: dict[str, list[Json]] = {
    "v1.5.0": [
        {"skb": {"packet": PACKET | {"packet": "QUI="}}},
        {"skb": {"packet": PACKET | {"raw": "QUI="}}},
        {"skb": {"packet": PACKET | {"data": "QUI="}}},
        {"packet": PACKET | {"raw": "QUI="}},
        {"skb": {"ns": {"netns": 5}}},
        {"skb": {"ns": {"netns": 5, "cookie": 6}}},
        {"skb": {"dev": {"name": "eth0", "ifindex": 3, "rx_ifindex": 4}, "netns": 5}},
        {"ns": {"netns": 5}},
        {"ct": {"state": "new", **TUPLE_FIELDS}},
        {"ct": {"state": "new", **TUPLE_FIELDS, "tcp_state": "SYN_SENT"}},
        {"ct": {"state": "new", **TUPLE_FIELDS, "tcp_state": None}},
    ],
    "v1.6.2": [
        {"skb": {"packet": PACKET | {"packet": "QUI="}, "ns": 5, "dev": None}},
        {"packet": PACKET | {"data": "QUI="}, "skb": {"packet": {}}},
        {"netns": {"inum": 6, "netns": 5}},
        {"ct": {"state": "new", **TUPLE_FIELDS, "ct_status": 4, "tcp_state": "SYN_SENT"}},
        {
            "ct": {
                "state": "new",
                **TUPLE_FIELDS,
                "ct_status": 4,
                "parent": {**TUPLE_FIELDS, "ct_status": 7, "tcp_state": "ESTABLISHED"},
            }
        },
        {
            "startup": {
                key: FULL["startup"][key] for key in ("retis_version", "clock_monotonic_offset")
            }
        },
    ],
    "v1.7.0": [{"skb": {"packet": PACKET, "ns": 5}, "ns": 6}],
}


@pytest.mark.parametrize("version", OLD)
def test_older_files(path: Path, version: str) -> None:
    startup = deepcopy(FULL["startup"]) | {"retis_version": version}
    if version != "v1.7.0":
        del startup["machine"], startup["cmdline"]
    first = {"common": {"timestamp": 1}, "startup": startup}
    events = [{"common": {"timestamp": 2}} | event for event in OLD[version]]
    write_lines(path, [first, *events])
    assert_same(read_by_us(path), read_by_reference(path))
    write_lines(path, [[first], events])
    assert_same(read_by_us(path), read_by_reference(path))
