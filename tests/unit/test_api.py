"""The Python library: what is exported, and what retis's library has no counterpart of."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import retis_py
from retis_py import Event, EventFile, EventReader, EventSeries, SeriesReader
from retis_py.errors import EventFileError, MissingPackage
from retis_py.events.sections.common import Common
from retis_py.events.sections.ct import CtState
from retis_py.events.sections.packet import Packet
from retis_py.events.sections.skb_tracking import SkbTracking

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
PUBLIC = [getattr(retis_py, name) for name in retis_py.__all__]


def test_every_public_name_is_exported() -> None:
    assert set(retis_py.__all__) <= set(dir(retis_py))
    assert {public.__name__ for public in PUBLIC} == set(retis_py.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = retis_py.Nothing


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.__name__)
def test_every_public_name_has_a_docstring(public: type) -> None:
    members = {"": public} | {
        f".{name}": member
        for name, member in inspect.getmembers(public)
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    }
    for name, member in members.items():
        if name not in {".index", ".count"}:  # of every sequence
            assert (inspect.getdoc(member) or "").strip(), public.__name__ + name


def test_importing_the_package_loads_nothing_of_it() -> None:
    loaded = "[m for m in sys.modules if 'retis_py.' in m or m == 'msgspec']"
    code = f"import retis_py, sys; print({loaded})"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.stdout == "[]\n"


def test_a_series_is_a_sequence() -> None:
    events = [Event(Common(number)) for number in range(3)]
    series = EventSeries(iter(events))
    assert (series[0], series[-1], series[1:]) == (events[0], events[2], events[1:])
    assert len([1 for _ in series for _ in series]) == 9
    assert (next(series), next(series)) == (events[0], events[1])
    assert list(series) == events
    assert next(series) is events[0]  # iterating has started it again
    assert repr(EventSeries([])) == "PyEventSeries(ts = None, n_events = 0)"


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", DATA / "test_events.json", pipe]):
        file = EventFile(pipe)
        assert not file.sorted()
        assert len(list(file.events())) == 5


def test_the_wrong_reader_leaves_the_file_usable() -> None:
    file = EventFile(DATA / "test_events_sorted.json")
    with pytest.raises(EventFileError, match=r"is sorted: use SeriesReader, or series\(\)"):
        file.events()
    assert len(list(file.series())) == 4
    with pytest.raises(EventFileError, match=r"is not sorted: use EventReader, or events\(\)"):
        SeriesReader(DATA / "test_events.json")


def test_readers_that_nobody_reads_close_their_file() -> None:
    """Else Python warns, which is an error here."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        EventFile(DATA / "test_events.json")
        EventReader(DATA / "test_events.json")
        next(EventReader.with_rotation(DATA / "test_events.json"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_damaged_piece_is_an_error_when_it_is_reached(tmp_path: Path) -> None:
    good = (DATA / "test_events.json").read_bytes()
    (tmp_path / "x.9").write_bytes(good)
    (tmp_path / "x.10").write_bytes(b"[]\n")
    reader = EventReader.with_rotation(tmp_path / "x.9")
    assert [next(reader) for _ in range(5)]
    with pytest.raises(RuntimeError, match=r"x\.10"):
        next(reader)


def test_sections_by_name() -> None:
    tracking = SkbTracking(1, 2, 3)
    event = Event(Common(5), skb_tracking=tracking)
    assert event["skb-tracking"] is event["skb_tracking"] is tracking
    assert event.sections() == ["common", "skb_tracking"]
    assert ("dev" in event, "to_dict" in event, "skb-tracking" in event) == (False, False, True)
    for name in ("dev", "to_dict", "__class__"):
        with pytest.raises(KeyError, match=name):
            event[name]
    with pytest.raises(TypeError, match="not 'int'"):
        _ = 3 in event  # type: ignore[operator]


def test_equal_events_have_the_same_hash() -> None:
    assert len({Event(Common(5, 1)), Event(Common(5, 1)), Event(Common(5, 2))}) == 2


def test_matching() -> None:
    first, clone, other = SkbTracking(1, 2, 3), SkbTracking(1, 2, 4), SkbTracking(1, 3, 3)
    assert (first.match(clone), first.match(other)) == (True, False)
    assert (first.strict_match(clone), first.strict_match(SkbTracking(1, 2, 3))) == (False, True)
    assert first.tracking_id() == (2 << 64) + 1
    with pytest.raises(TypeError, match="'int' is no SkbTracking"):
        first.match(3)  # type: ignore[arg-type]


def test_states() -> None:
    state = CtState.RELATED_REPLY
    assert state == "related_reply" == str(state) == repr(state)
    assert state == state.RelatedReply != state.New
    assert (int(state), state == 4, {"related_reply": 1}[state]) == (4, True, 1)
    assert [state == other for other in (True, None, 4.0, 3)] == [False] * 4
    assert [state != other for other in (4, "related_reply", 3)] == [False, False, True]
    with pytest.raises(AttributeError, match="'CtState' object has no attribute 'Nothing'"):
        _ = state.Nothing


def test_without_scapy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scapy", None)
    monkeypatch.delitem(sys.modules, "scapy.all", raising=False)
    with pytest.raises(MissingPackage, match=r"needs scapy, .* 'pip install scapy'") as caught:
        Packet(14, 14, bytes(14)).to_scapy()
    assert isinstance(caught.value, ImportError)
