"""Rotated event files: where a piece ends, and that nothing is lost or replaced."""

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop.event_strategies import FULL
from retis_py.errors import EventFileError
from retis_py.events.event import Event, decode, encode
from retis_py.events.rotate import RotatingWriter, find_pieces
from retis_py.events.sections.common import Common
from retis_py.events.sections.packet import Packet
from retis_py.events.sections.startup import NftRules, NftTable

SECTION = {key: value for key, value in FULL["startup"].items() if key != "split_file"}
STARTUP = decode(json.dumps({"common": {"timestamp": 1}, "startup": SECTION}).encode())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "retis.data"


def event(number: int, size: int = 0) -> Event:
    return Event(Common(number), packet=Packet(size, size, bytes(size)))


def pieces(path: Path) -> list[list[dict[str, Any]]]:
    """The events of each piece, its startup event first."""
    found: list[list[dict[str, Any]]] = []
    while (piece := Path(f"{path}.{len(found)}")).exists():
        found.append([json.loads(line) for line in piece.read_bytes().splitlines()])
    assert len(found) == len(list(path.parent.iterdir()))
    return found


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(0, 3000) | st.just(150_000), max_size=60),
    limit=st.integers(1, 20_000),
    flushed=st.sets(st.integers(0, 59)),
    as_lines=st.booleans(),
)
def test_pieces(
    tmp_path: Path, sizes: list[int], limit: int, flushed: set[int], as_lines: bool
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    path = tmp_path / "events"
    with RotatingWriter(path, limit, STARTUP) as writer:
        lines = b"".join(encode(event(n, size)) + b"\n" for n, size in enumerate(sizes))
        if as_lines:
            writer.write_lines(lines)
        for number, size in enumerate(sizes if not as_lines else ()):
            writer.write(event(number, size))
            if number in flushed:
                writer.flush()
    assert writer.unwritten == 0
    found = pieces(path)
    assert writer.pieces == len(found)
    assert find_pieces(path) == [Path(f"{path}.{number}") for number in range(len(found))]
    numbers = [e["common"]["timestamp"] for _, *events in found for e in events]
    assert numbers == list(range(len(sizes)))
    for number, (startup, *events) in enumerate(found):
        policy = {"kind": "size", "limit": limit}
        assert startup["startup"].pop("split_file") == {"id": number, "policy": policy}
        assert startup == json.loads(encode(STARTUP))
        size = Path(f"{path}.{number}").stat().st_size
        assert size <= limit or len(events) <= 1
        if number + 1 < len(found):  # no piece ends before it must
            following = json.dumps(found[number + 1][1], separators=(",", ":"))
            assert size + len(following) + 1 > limit


def test_series_stay_together(path: Path) -> None:
    series = [event(1, 100), event(2, 100)]
    with RotatingWriter(path, 1, STARTUP) as writer:
        writer.write_series(series)
        writer.write_series(series)
    assert [len(piece) for piece in pieces(path)] == [2, 2]
    assert len(pieces(path)[1][1]) == 2


def test_a_collection_without_events_is_one_piece(path: Path) -> None:
    RotatingWriter(path, 4000, STARTUP).close()
    assert [len(piece) for piece in pieces(path)] == [1]


@pytest.mark.parametrize(
    ("names", "which"),
    [
        (["retis.data.0"], "{}.0 of an earlier collection is"),
        (["retis.data.7"], "{}.7 of an earlier collection is"),
        (
            ["retis.data.10", "retis.data.9", "retis.data.0"],
            "{}.0 to {}.10 (3 files) of an earlier collection are",
        ),
    ],
)
def test_older_pieces_are_refused_and_kept(path: Path, names: list[str], which: str) -> None:
    for name in names:
        (path.parent / name).write_text("precious")
    with pytest.raises(EventFileError) as caught:
        RotatingWriter(path, 4000, STARTUP)
    assert str(caught.value) == (
        f"{which.format(path, path)} still there, and might be read as part of this one:"
        " move or remove them first, or give another name with -o"
    )
    assert {p.name: p.read_text() for p in path.parent.iterdir()} == dict.fromkeys(
        names, "precious"
    )


def test_other_names_are_no_pieces(path: Path) -> None:
    names = ["retis.data", "retis.data.", "retis.data.00", "retis.data.1.gz", "retis.data.x"]
    names += ["retisxdata.1", "xretis.data.1", "retis.data.-1", "retis.data.\u0661"]
    for name in names:
        (path.parent / name).touch()
    assert find_pieces(path) == []
    (path.parent / "retis.data.12").touch()
    assert find_pieces(path) == [path.parent / "retis.data.12"]


def test_a_file_that_turns_up_is_not_replaced(path: Path) -> None:
    with pytest.raises(EventFileError) as caught, RotatingWriter(path, 1, STARTUP) as writer:
        writer.write(event(1))
        Path(f"{path}.1").write_text("precious")
        writer.write(event(2))
    assert str(caught.value) == f"cannot create {path}.1: File exists"
    assert writer.unwritten == 1
    assert Path(f"{path}.1").read_text() == "precious"
    assert len(Path(f"{path}.0").read_bytes().splitlines()) == 2


def test_what_fails_before_the_first_event_leaves_nothing(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RotatingWriter(path, 4000, STARTUP):
        raise ZeroDivisionError
    assert not list(path.parent.iterdir())
    with pytest.raises(ZeroDivisionError), RotatingWriter(path, 4000, STARTUP) as writer:
        writer.write(event(1))
        raise ZeroDivisionError
    assert [len(piece) for piece in pieces(path)] == [2]


@pytest.mark.parametrize("name", ["missing/retis.data", "file/retis.data"])
def test_where_no_file_can_be_created(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EventFileError) as caught:
        RotatingWriter(tmp_path / name, 4000, STARTUP)
    code = errno.ENOENT if name.startswith("missing") else errno.ENOTDIR
    assert str(caught.value) == f"cannot create {tmp_path / name}.0: {os.strerror(code)}"


@contextmanager
def small_files() -> Iterator[None]:
    """No file can grow beyond 2000 bytes (EFBIG, as SIGXFSZ is ignored by Python).

    No fixture: pytest's own output may be a file, and is written before those end.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_write_keeps_what_is_not_in_the_file(path: Path) -> None:
    writer = RotatingWriter(path, 10_000, STARTUP)
    for number in range(20):
        writer.write(event(number, 100))
    match = r"retis\.data\.0: File too large; \d+ bytes of"
    with small_files(), pytest.raises(EventFileError, match=match) as c:
        writer.flush()
    assert "cannot write" in str(c.value)
    whole = len(Path(f"{path}.0").read_bytes().split(b"\n")) - 1
    assert writer.unwritten == 20 - (whole - 1)
    with small_files(), pytest.raises(EventFileError):
        writer.close()
    writer.close()


def test_a_failed_write_at_a_piece_s_end_counts_the_next_event_too(path: Path) -> None:
    writer = RotatingWriter(path, 3000, STARTUP)
    written = 0
    with small_files(), pytest.raises(EventFileError, match=r"retis\.data\.0: File too large"):
        while True:
            written += 1
            writer.write(event(written, 100))
    whole = Path(f"{path}.0").read_bytes().count(b"\n") - 1
    assert writer.unwritten == written - whole
    assert not Path(f"{path}.1").exists()


def test_a_piece_without_its_startup_event_is_taken_away(path: Path) -> None:
    long = decode(encode(STARTUP))
    assert long.startup is not None
    long.startup.cmdline = "x" * 3000
    writer = RotatingWriter(path, 1, long)
    writer.write(event(1))
    writer.flush()
    match = r"cannot write .*retis\.data\.1: File too large"
    with small_files(), pytest.raises(EventFileError, match=match):
        writer.write(event(2))
    writer.close()
    assert writer.unwritten == 1
    assert [len(piece) for piece in pieces(path)] == [2]


@pytest.mark.parametrize(("limit", "in_all"), [(100_000, True), (10_000, False)])
def test_long_ruleset_is_in_the_first_piece_only(path: Path, limit: int, in_all: bool) -> None:
    rules = NftRules([NftTable("ip", "t", 1, {"c": {"1": "accept" * 1000}})], netns=1)
    assert STARTUP.startup is not None
    section = msgspec.structs.replace(STARTUP.startup, nft_rules=rules)
    startup = msgspec.structs.replace(STARTUP, startup=section)
    with RotatingWriter(path, limit, startup) as writer:
        for number in range(20):
            writer.write(event(number, limit // 5))
    first, *others = (events[0]["startup"] for events in pieces(path))
    assert len(others) > 2
    assert "nft_rules" in first
    assert {"nft_rules" in other for other in others} == {in_all}
    assert {other["cmdline"] for other in others} == {first["cmdline"]}
