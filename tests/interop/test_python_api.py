"""Scripts written for the reference library do the same with ours."""

import ast
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import retis_py
from interop.api_scripts import FAILURES, NETFILTER_AND_OVS, PACKETS, SECTIONS, SERIES, TRACKING
from interop.event_strategies import FULL, OVS_KINDS, Json, events, names, ovs

retis = pytest.importorskip("retis")

STARTUP: Json = {"common": {"timestamp": 1}, "startup": FULL["startup"]}
LIBRARIES = (retis, retis_py)
SORTED = Path(__file__).parent.parent / "data" / "test_events_sorted.json"

batches = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextlib.contextmanager
def quiet_panics() -> Iterator[None]:
    """The reference announces each panic on descriptor 2, past sys.stderr."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def write(path: Path, lines: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def without_panics(generated: list[Json], folder: Path) -> list[Json]:
    """Leave out packets whose text the reference cannot tell, and the strange ends of scapy."""
    path = write(folder / "all", [STARTUP, *generated])
    kept = []
    with quiet_panics():
        for raw, event in zip(generated, list(retis.EventReader(path))[1:], strict=True):
            try:
                str(event)
            except BaseException as error:
                if type(error).__name__ != "PanicException":
                    raise
                raw.pop("packet")
            kept.append(raw)
    return kept


def output(script: str, library: ModuleType, path: Path) -> str:
    text = script.replace("from retis import", f"from {library.__name__} import")
    assert f"from {library.__name__} import" in text
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        exec(compile(text, "script", "exec"), {"PATH": str(path)})  # noqa: S102 (as users do)
    return stream.getvalue()


def same_output(script: str, path: Path) -> str:
    expected, ours = (output(script, library, path) for library in LIBRARIES)
    assert ours == expected
    return ours


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module", autouse=True)
def scapy() -> None:
    """Loaded once, as it warns of its own use of other packages."""
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("scapy.all")


@pytest.mark.parametrize("script", [SECTIONS, TRACKING, NETFILTER_AND_OVS])
def test_scripts(script: str, folder: Path) -> None:
    @batches
    @given(st.lists(events(), min_size=1, max_size=12))
    def check(generated: list[Json]) -> None:
        kept = without_panics(generated, folder)
        same_output(script, write(folder / "events", [STARTUP, *kept]))

    check()


@batches
@given(generated=st.lists(events().filter(lambda e: "packet" in e), min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore")
def test_packets(generated: list[Json], folder: Path) -> None:
    path = write(folder / "packets", [STARTUP, *generated])
    # Some of scapy's dissectors fail on corrupt packets: in both ways the same.
    with contextlib.suppress(Exception):
        expected = output(PACKETS, retis, path)
        assert output(PACKETS, retis_py, path) == expected
        return
    assert failure(PACKETS, retis_py, path) == failure(PACKETS, retis, path)


def failure(script: str, library: ModuleType, path: Path) -> str:
    with pytest.raises(Exception) as caught:
        output(script, library, path)
    return repr(caught.value)


def test_every_kind_of_ovs_event(folder: Path) -> None:
    lines = [STARTUP, FULL, *({"common": {"timestamp": 1}, "ovs": kind} for kind in OVS_KINDS)]
    text = same_output(NETFILTER_AND_OVS, write(folder / "ovs", lines))
    for word in ("upcall", "flow_lookup", "action_execute", "recv_upcall", "Set"):
        assert word in text


@batches
@given(generated=st.lists(st.lists(events(), min_size=1, max_size=5), min_size=1, max_size=5))
def test_series(generated: list[list[Json]], folder: Path) -> None:
    kept = [without_panics(series, folder) for series in generated]
    same_output(SERIES, write(folder / "sorted", [[STARTUP], *kept]))


def test_a_file_that_was_sorted_by_retis() -> None:
    assert "PyEventSeries(ts = 23868955262984, n_events = 2)" in same_output(SERIES, SORTED)


@pytest.mark.parametrize("lines", [[STARTUP, FULL], [[STARTUP], [FULL]]])
def test_failures(lines: list[Any], folder: Path) -> None:
    text = same_output(FAILURES, write(folder / "file", lines))
    assert text.count("RuntimeError") > 20
    assert text.count("TypeError") > 5


def rotated(folder: Path) -> None:
    for name, first in (("a.0", 0), ("a.1", 10), ("a.2", 20), ("a.4", 40), ("b", 50), ("b.0", 60)):
        own = [STARTUP | {"common": {"timestamp": first}}]
        write(folder / name, [*own, *({"common": {"timestamp": first + n}} for n in (1, 2))])
    write(folder / "sorted.0", [[STARTUP], [FULL]])


READERS: list[Callable[[Any, Path], Iterable[Any]]] = [
    lambda library, path: library.EventReader.with_rotation(path),
    lambda library, path: library.EventFile.with_rotation(path).events(),
    lambda library, path: library.EventReader(path),
]


@pytest.mark.parametrize("name", ["a.0", "a.1", "a.2", "a.3", "a.4", "a", "b", "b.0", "sorted.0"])
@pytest.mark.parametrize("reader", READERS)
def test_rotation(name: str, reader: Callable[[Any, Path], Iterable[Any]], tmp_path: Path) -> None:
    rotated(tmp_path)
    found = []
    for library in LIBRARIES:
        try:
            timestamps = [event.common.timestamp for event in reader(library, tmp_path / name)]
            found.append(str(timestamps))
        except RuntimeError:
            found.append("fails")
    assert found[0] == found[1]
    if name == "a.1" and reader is not READERS[2]:
        assert found[1] == "[10, 11, 12, 20, 21, 22]"


# What the reference has and ours has not: docs/python.md says so. A variant of which there is one.
LEFT_OUT = {"Size"}


def assert_same(expected: Any, ours: Any, where: str) -> int:
    """Compare attributes at all depths; return how many there were."""
    if expected is None or isinstance(expected, str | int | list | dict):
        assert type(ours) is type(expected), where
        assert ours == expected, where
        return 1
    assert_same_text(expected, ours, where)
    seen = 1
    for name in dir(expected):
        if name.startswith("_") or name in LEFT_OUT:
            continue
        there = getattr(expected, name)
        here = getattr(ours, name)
        inner = f"{where}.{name}"
        if isinstance(there, type):
            assert isinstance(ours, here) == isinstance(expected, there), inner
        elif type(there) is type(expected):  # the members of an enumeration
            assert str(here) == str(there), inner
            assert (ours == here, int(here)) == (expected == there, int(there)), inner
        elif name in ("match", "strict_match", "to_scapy"):
            assert callable(here)
        elif callable(there):
            assert here() == there(), inner
        else:
            seen += assert_same(there, here, inner)
    return seen


def assert_same_text(expected: Any, ours: Any, where: str) -> None:
    for text in (str, repr):
        try:
            there = text(expected)
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            continue
        here = text(ours)
        if there.startswith("{"):  # in any order
            assert ast.literal_eval(here) == ast.literal_eval(there), where
        else:
            assert here == there, where


@batches
@given(generated=st.lists(events(), min_size=1, max_size=12))
def test_every_attribute(generated: list[Json], folder: Path) -> None:
    check_attributes(generated, folder)


@batches
@given(generated=st.lists(ovs(names), min_size=1, max_size=12))
def test_every_attribute_of_ovs(generated: list[Json], folder: Path) -> None:
    check_attributes([{"common": {"timestamp": 1}, "ovs": kind} for kind in generated], folder)


def test_every_attribute_is_walked(folder: Path) -> None:
    assert check_attributes([FULL], folder) > 140


def check_attributes(generated: list[Json], folder: Path) -> int:
    path = write(folder / "attributes", [STARTUP, *generated])
    seen = 0
    with quiet_panics():
        for there, here in zip(retis.EventReader(path), retis_py.EventReader(path), strict=True):
            assert here.sections() == there.sections()
            assert here.to_dict() == there.to_dict()
            assert ast.literal_eval(repr(here)) == ast.literal_eval(repr(there))
            for name in there.sections():
                seen += assert_same(there[name], here[name], name)
            for name in FULL:
                attribute = name.replace("-", "_")
                assert (name in here) == (name in there) == (attribute in here)
                assert (getattr(there, attribute) is None) == (getattr(here, attribute) is None)
    return seen


def test_the_public_names_are_there() -> None:
    assert set(retis.__all__) <= set(retis_py.__all__) | {"__doc__"}
    for name in retis_py.__all__:
        there, here = getattr(retis, name), getattr(retis_py, name)
        public = {attribute for attribute in dir(there) if not attribute.startswith("_")}
        assert public <= set(dir(here)), name
    assert "scapy.all" in sys.modules
