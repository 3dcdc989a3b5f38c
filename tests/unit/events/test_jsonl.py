import base64
import json
import logging
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop.event_strategies import FULL
from lab.startup import STARTUP
from retis_py.errors import EventFileError
from retis_py.events.event import Event, decode, encode
from retis_py.events.jsonl import EventFile
from retis_py.events.sections.common import Common
from retis_py.events.sections.packet import Packet
from retis_py.events.writer import EventWriter

Json = dict[str, Any]

FIRST = json.dumps(STARTUP).encode() + b"\n"
SORTED_FIRST = b"[" + FIRST.strip() + b"]\n"


def event(timestamp: int, **sections: Any) -> bytes:
    return json.dumps({"common": {"timestamp": timestamp}, **sections}).encode() + b"\n"


def startup_of(version: str) -> bytes:
    startup = STARTUP["startup"] | {"retis_version": version}
    return json.dumps(STARTUP | {"startup": startup}).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "retis.data"


def timestamps(path: Path) -> list[int]:
    with EventFile(path) as file:
        return [event.common.timestamp for event in file.events()]


def error_of(path: Path) -> str:
    """The error of reading the file to its end: one line that names the file."""
    with pytest.raises(EventFileError) as caught, EventFile(path) as file:
        list(file.events())
    message = str(caught.value)
    assert message.isprintable()
    assert path.name in message
    return message


def test_the_file_knows_its_collection(path: Path) -> None:
    path.write_bytes(startup_of("v1.9.3+retis-py.0.1") + event(2))
    with EventFile(path) as file:
        assert not file.sorted
        assert file.version == (1, 9, 3)
        assert file.startup.clock_monotonic_offset.ns == 5_000_000_007
        assert [len(series) for series in file.series()] == [1, 1]


def test_sorted_files(path: Path) -> None:
    second = b"[" + event(2).strip() + b"," + event(3).strip() + b"]\n"
    path.write_bytes(SORTED_FIRST + second + b"[" + event(4).strip() + b"]\n")
    with EventFile(path) as file:
        assert file.sorted
        assert [len(series) for series in file.series()] == [1, 2, 1]
    assert timestamps(path) == [1, 2, 3, 4]


def test_blank_lines_and_a_missing_last_newline_do_no_harm(path: Path) -> None:
    path.write_bytes(FIRST + event(2) + b"\n  \n" + event(3).rstrip())
    assert timestamps(path) == [1, 2, 3]


def test_a_pipe_can_be_read(path: Path) -> None:
    os.mkfifo(path)
    with subprocess.Popen(["/bin/sh", "-c", 'printf %s "$0" > "$1"', FIRST.decode(), path]):
        assert timestamps(path) == [1]


def test_numbers_survive_exactly(path: Path) -> None:
    path.write_bytes(FIRST + event(2**64 - 1) + event(2**53 + 1))
    assert timestamps(path) == [1, 2**64 - 1, 2**53 + 1]


def test_a_missing_file(path: Path) -> None:
    assert error_of(path) == f"cannot read {path}: no such file; collect events into it first"


def test_a_folder(path: Path) -> None:
    path.mkdir()
    assert error_of(path) == f"cannot read {path}: Is a directory"


def test_a_file_that_may_not_be_read(path: Path) -> None:
    path.write_bytes(FIRST)
    path.chmod(0)
    path.parent.chmod(0o755)
    script = (
        "import os, sys\n"
        "from retis_py.errors import EventFileError\n"
        "from retis_py.events.jsonl import EventFile\n"
        "folder = os.open(sys.argv[1], os.O_PATH)\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"  # root may read everything
        "os.fchdir(folder)\n"
        "try: EventFile('retis.data')\n"
        "except EventFileError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, path.parent],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert run.stdout == "cannot read retis.data: Permission denied\n"


def test_an_empty_file(path: Path) -> None:
    path.touch()
    assert error_of(path) == f"{path} is empty; it holds no events"


def test_a_name_with_control_characters(tmp_path: Path) -> None:
    with pytest.raises(EventFileError, match=r"^cannot read .*/a\\x1b\[31m\\x0a: no such file"):
        EventFile(tmp_path / "a\x1b[31m\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FIRST[:100], "the first line is cut short or no JSON; it holds no events"),
        (b"hello\n", "line 1 (byte 0) is not JSON"),
        (b"\0" * 4096, "the first line is cut short or no JSON"),
        (b"\xff\xfe{}\n", "line 1 (byte 0) is not JSON"),
        (b"[" * 100_000 + b"\n", "line 1 (byte 0) is not JSON: nested too deep"),
        (b"5\n", "no startup event"),
        (b"null", "no startup event"),
        (b"[]\n", "no startup event"),
        (b"{}\n", "no startup event"),
        (event(1), "no startup event"),
        (event(1, startup={"retis_version": 5}), "no startup event"),
        (b" " + SORTED_FIRST, "line 1 (byte 0) is no event"),
        (event(1, startup={"retis_version": "v1.7.0"}), "missing required field `cmdline`"),
        (startup_of("tomorrow\x1b"), "cannot understand the retis version 'tomorrow\\\\x1b'"),
        (startup_of("v2.0.0"), "written by retis 2.0.0, whose format is newer"),
        (startup_of("v1.4.9"), "written by retis 1.4.9; formats before 1.5.0 cannot be read"),
        (startup_of("v0.1.0"), "written by retis 0.1.0"),
    ],
)
def test_first_lines_of_no_event_file(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    assert message in error_of(path)


PACKET = {"len": 4, "capture_len": 4}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{]\n", "is not JSON: JSON is malformed"),
        (b"\xff\n", "is not JSON"),
        (b'{"common":{"timestamp":3}} {}\n', "is not JSON"),
        (b'{"a":' * 100_000 + b"\n", "is not JSON: nested too deep"),
        (event(3)[:-5] + b"\n", "is not JSON"),
        (b"5\n", "is no event: Expected `object`, got `int`"),
        (b"null", "is no event: Expected `object`, got `null`"),
        (b"[" + event(3).strip() + b"]\n", "is no event: Expected `object`, got `array`"),
        (b"{}\n", "is no event: Object missing required field `common`"),
        (event(-1), "Expected `int` >= 0 - at `$.common.timestamp`"),
        (event(3, dev={"name": 5, "ifindex": 1}), "got `int` - at `$.dev.name`"),
        (event(3, dev={"name": "e", "ifindex": 2**32}), "at `$.dev.ifindex`"),
        (event(3, packet=PACKET | {"data": "?"}), "Invalid base64 encoded string"),
        (
            event(3, ovs={"event_type": "\x1b[2J"}),
            "Invalid value '\\x1b[2J' - at `$.ovs.event_type`",
        ),
    ],
)
def test_damaged_lines(path: Path, line: bytes, message: str) -> None:
    before = FIRST + event(2)
    path.write_bytes(before + line)
    error = error_of(path)
    assert f"{path}: line 3 (byte {len(before)}) " in error
    assert message in error
    assert error.endswith("; 'head -n 2' keeps what is before it")


def test_what_is_before_a_damaged_line_is_read(path: Path) -> None:
    path.write_bytes(FIRST + event(2) + b"x\n" + event(4))
    seen = []
    with EventFile(path) as file, pytest.raises(EventFileError):
        seen.extend(event.common.timestamp for event in file.events())
    with EventFile(path) as file:
        events = file.events()
        seen = [next(events).common.timestamp, next(events).common.timestamp]
    assert seen == [1, 2]


def test_damaged_lines_of_sorted_files(path: Path) -> None:
    for line in (event(2), b"[]\n", b"[5]\n", b"[{}]\n"):
        path.write_bytes(SORTED_FIRST + line)
        assert f"line 2 (byte {len(SORTED_FIRST)}) is no event" in error_of(path)


def test_damaged_lines_of_old_files(path: Path) -> None:
    for line in (b"[]\n", b"5\n", b"{}\n", event(2, packet={"raw": "?"})):
        path.write_bytes(startup_of("v1.5.0") + line)
        assert "is no event" in error_of(path)
    path.write_bytes(startup_of("v1.5.0") + b"{\n")
    assert "is not JSON" in error_of(path)
    for line in (event(2), b"5\n", b"[5]\n", b"[[]]\n"):
        path.write_bytes(b"[" + startup_of("v1.6.0").strip() + b"]\n" + line)
        assert "line 2" in error_of(path)


@pytest.mark.parametrize("cut", [1, 5, 20])
@pytest.mark.parametrize("version", ["v1.7.0", "v1.5.0"])
def test_a_last_line_cut_short(
    path: Path, caplog: pytest.LogCaptureFixture, cut: int, version: str
) -> None:
    first = startup_of(version)
    last = event(3, dev={"name": "é", "ifindex": 1})
    path.write_bytes(first + event(2) + last[: -cut - 1])
    with caplog.at_level(logging.WARNING):
        assert timestamps(path) == [1, 2]
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: line 3 (byte {len(first) + len(event(2))}) is cut short and left out;"
        " was its writer killed?"
    )


def test_an_endless_line_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retis_py.events.source.MAX_LINE", 1 << 20)
    with pytest.raises(
        EventFileError, match=r"^/dev/zero: the line at byte 0 is longer than 1 MiB"
    ):
        EventFile("/dev/zero")


def test_writing_and_reading_back(path: Path) -> None:
    data = bytes(range(256))
    packet = Packet(1500, 256, data)
    with EventWriter(path) as writer:
        writer.write_lines(FIRST)
        writer.write(Event(Common(2**64 - 1), packet=packet))
    lines = path.read_bytes().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1]) == {
        "common": {"timestamp": 2**64 - 1},
        "packet": {"len": 1500, "capture_len": 256, "data": base64.b64encode(data).decode()},
    }
    with EventFile(path) as file:
        _, read = file.events()
    assert read.packet == packet


def test_series_are_written_on_a_line(path: Path) -> None:
    with EventWriter(path) as writer:
        writer.write_series([Event(Common(1)), Event(Common(2))])
        writer.write_series([Event(Common(3))])
    assert path.read_bytes() == (
        b'[{"common":{"timestamp":1}},{"common":{"timestamp":2}}]\n[{"common":{"timestamp":3}}]\n'
    )


def test_lines_are_buffered_until_asked_for(path: Path) -> None:
    writer = EventWriter(path)
    writer.write(Event(Common(1)))
    assert path.stat().st_size == 0
    writer.flush()
    assert path.read_bytes() == b'{"common":{"timestamp":1}}\n'
    for timestamp in range(10_000):
        writer.write(Event(Common(timestamp)))
    assert path.stat().st_size > 200_000  # the buffer is bounded
    writer.close()
    writer.close()
    assert path.read_bytes().count(b"\n") == 10_001


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing/retis.data", "No such file or directory"), ("", "Is a directory")],
)
def test_files_that_cannot_be_created(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(EventFileError) as caught:
        EventWriter(tmp_path / name)
    assert str(caught.value) == f"cannot create {tmp_path / name}: {reason}"


def test_a_full_disk() -> None:
    writer = EventWriter("/dev/full")
    writer.write(Event(Common(1)))
    message = "cannot write /dev/full: No space left on device; 27 bytes of events are not in it"
    for failing in (writer.flush, writer.close):
        with pytest.raises(EventFileError) as caught:
            failing()
        assert str(caught.value) == message
    writer.close()  # closed in spite of the failure


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def with_odd_values(draw: st.DrawFn) -> Json:
    """An event in which a few values, at any depth, are of any type."""
    event = deepcopy(FULL)
    for _ in range(draw(st.integers(1, 3))):
        where: Any = event
        key = draw(st.sampled_from(sorted(event)))
        while isinstance(where[key], dict) and where[key] and draw(st.integers(0, 3)):
            where = where[key]
            key = draw(st.sampled_from(sorted(where)))
        where[key] = draw(JSON)
    return event


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A line with some bytes taken out and others put in."""
    line = bytearray(json.dumps(FULL, ensure_ascii=False).encode())
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(line) - 1))
        line[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(line)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    line=st.one_of(damaged(), with_odd_values().map(lambda event: json.dumps(event).encode())),
    version=st.sampled_from(("v1.7.0", "v1.5.0")),
)
def test_whatever_a_line_holds_it_is_an_event_or_one_error(
    path: Path, line: bytes, version: str
) -> None:
    path.write_bytes(startup_of(version) + line + b"\n")
    try:
        with EventFile(path) as file:
            events = list(file.events())
    except EventFileError as error:
        assert str(error).isprintable()
        return
    for event in events:
        assert decode(encode(event)) == event
        assert event.to_dict()
        assert not set(str(event)) & set("\x00\x1b\r\x9b")
