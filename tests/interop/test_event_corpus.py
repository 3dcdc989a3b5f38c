"""Twenty thousand events: text and data are those of the reference, which reads what we write.

`test_events.py` goes through fields and their ranges; here sections and packets stand together in
all ways, and every writer of ours has its turn.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interop.event_mixing import mixed
from interop.event_strategies import FULL, Json, events
from interop.packet_strategies import repeatable
from interop.test_events import CURRENT, assert_same, quiet_stderr, read_by_reference, read_by_us
from interop.test_line_text import as_old, compact, series_of
from retis_py.cli.main import main
from retis_py.events.event import decode, encode
from retis_py.events.jsonl import EventFile
from retis_py.events.rotate import RotatingWriter, piece_path
from retis_py.events.writer import EventWriter

retis = pytest.importorskip("retis")

DATA = Path(__file__).parent.parent / "data"
AT_A_TIME = 1000

pools = st.lists(events(), min_size=5, max_size=12)
seeds = st.integers(0, 2**32)


def batches(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus") / "retis.data"


def written(path: Path, lines: Sequence[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def canonical(found: Sequence[Json]) -> list[str]:
    """The events in an order that does not depend on that of the file."""
    return sorted(json.dumps(event, sort_keys=True) for event in found)


def retis_print(*arguments: str | Path) -> None:
    assert main(["print", *map(str, arguments)]) == 0


def data_by_reference(path: Path) -> list[Json]:
    """Without texts, which take most of the time."""
    file = retis.EventFile(str(path))
    with quiet_stderr():
        if file.sorted():
            return [event.to_dict() for series in file.series() for event in series]
        return [event.to_dict() for event in file.events()]


@batches(20)
@given(drawn=pools, seed=seeds)
def test_text_and_data(path: Path, drawn: list[Json], seed: int) -> None:
    """What the reference would write, in its own spelling, is the same to us and to it.

    What we write is then the same file to it.
    """
    lines = [compact(event) for event in (CURRENT, *mixed(drawn, repeatable(seed), AT_A_TIME))]
    reference = read_by_reference(written(path, lines))
    in_its_spelling = [compact(data) for data, _ in reference]
    assert_same(read_by_us(written(path, in_its_spelling)), reference)
    with EventFile(path) as file, EventWriter(path.with_name("ours.data")) as writer:
        for event in file.events():
            writer.write(event)
    assert data_by_reference(path.with_name("ours.data")) == [data for data, _ in reference]


@batches(3)
@given(drawn=pools, seed=seeds)
def test_what_print_saves(path: Path, drawn: list[Json], seed: int) -> None:
    """``print -o``, of a file in whatever spelling, sorted or not, loses and changes nothing."""
    random = repeatable(seed)
    out = path.with_name("out.data")
    startup = {key: value for key, value in FULL["startup"].items() if key != "split_file"}
    lines = [compact(event) for event in mixed(drawn, random, AT_A_TIME)]
    first = compact({"common": {"timestamp": 1}, "startup": startup})
    for content in ([first, *lines], [b"[" + first + b"]", *series_of(lines, random)]):
        written(path, content)
        retis_print("-o", out, path)
        assert data_by_reference(out) == data_by_reference(path)


@pytest.mark.parametrize("version", ["v1.5.0", "v1.6.1"])
@batches(2)
@given(drawn=pools, seed=seeds)
def test_what_print_saves_of_old_files(
    path: Path, version: str, drawn: list[Json], seed: int
) -> None:
    """In the current format: to the reference the same events."""
    out = path.with_name("out.data")
    startup = {"retis_version": version, "clock_monotonic_offset": {"sec": 1, "nsec": 2}}
    first = compact({"common": {"timestamp": 1}, "startup": startup})
    drawn_events = mixed(drawn, repeatable(seed), AT_A_TIME)
    lines = [as_old(event, version) for event in drawn_events if "startup" not in event]
    written(path, [first, *lines])
    assert_same(read_by_us(path), read_by_reference(path))
    retis_print("-o", out, path)
    old, new = data_by_reference(path), data_by_reference(out)
    assert new[0]["startup"].pop("retis_version") == "v1.7.0"
    assert old[0]["startup"].pop("retis_version") == version
    assert new == old


@batches(3)
@given(drawn=pools, seed=seeds)
def test_what_sort_saves(path: Path, drawn: list[Json], seed: int) -> None:
    """The reference finds all events again, with nothing but ``tracking`` new in them."""
    out = path.with_name("out.data")
    drawn_events = mixed(drawn, repeatable(seed), AT_A_TIME)
    # The texts of flows would get into other events.
    left_out = {"startup", "tracking", "ovs", "ovs-detrace"}
    plain = [event for event in drawn_events if not left_out & {*event}]
    written(path, [compact(CURRENT), *map(compact, plain)])
    assert main(["sort", "-o", str(out), str(path)]) == 0
    assert retis.EventFile(str(out)).sorted()
    found = data_by_reference(out)
    tracked = [event.pop("tracking", None) for event in found[1:]]
    assert [t is not None for t in tracked] == ["skb-tracking" in event for event in found[1:]]
    assert canonical(found[1:]) == canonical(data_by_reference(path)[1:])


@batches(2)
@given(drawn=pools, seed=seeds)
def test_rotated_files(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Json], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("rotated")
    startup = decode(encode(CURRENT))
    lines = [encode(decode(compact(e))) for e in mixed(drawn, repeatable(seed), AT_A_TIME)]
    lines = [line for line in lines if b'"startup"' not in line]
    with RotatingWriter(folder / "retis.data", 200_000, startup) as writer:
        for line in lines:
            writer.write_lines(line + b"\n")
    found: list[Any] = []
    for number in range(writer.pieces):
        piece = piece_path(writer.path, number)
        first, *others = read_by_reference(piece)
        assert first[0]["startup"]["split_file"]["id"] == number
        assert_same(read_by_us(piece), [first, *others])
        found += [data for data, _ in others]
    assert writer.pieces > 2
    written(folder / "whole.data", [encode(startup), *lines])
    whole = data_by_reference(folder / "whole.data")
    assert found == whole[1:]
    retis_print("-o", folder / "joined.data", folder / "retis.data..")
    joined = data_by_reference(folder / "joined.data")
    assert joined[1:] == found
    assert "split_file" not in joined[0]["startup"]


@pytest.mark.parametrize("name", ["test_events", "test_events_packets", "test_events_sorted"])
def test_files_of_other_machines_saved_again(path: Path, name: str) -> None:
    original = DATA / f"{name}.json"
    retis_print("-o", path, original)
    old, new = read_by_reference(original), read_by_reference(path)
    assert [data for data, _ in new[1:]] == [data for data, _ in old[1:]]
    assert [text for _, text in new[1:]] == [text for _, text in old[1:]]
