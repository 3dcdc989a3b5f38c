"""Spools that were left, read as event files; damaged ones give one line and never a traceback."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retis_py.cli import spool_input  # noqa: F401 (to read spools)
from retis_py.cli.main import cli, main
from retis_py.collect import describe as describing
from retis_py.collect.drain import Drainer
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.plan import Plan
from retis_py.collect.spool_format import CHUNK_MARK, Decoded, Kind
from retis_py.errors import EventFileError
from retis_py.events import source
from retis_py.events.jsonl import EventFile
from retis_py.probes.probe import Probe, ProbeType, UserProbe
from unit.collect.spools import Ring, new_spool, record


def leave(path: Path, plan: Plan, *rings: Ring, decoded: Decoded | None = None) -> Path:
    """A spool with what these rings hold, left behind."""
    with new_spool(path, plan, len(rings), 100 << 20) as spool:
        Drainer(spool, rings, 1 << 20, KnownProbes(())).round()
        if decoded is not None:
            spool.control.set_decoded(decoded)
        spool.keep()
        assert spool.path is not None
        return spool.path


def read(path: Path) -> list[int]:
    """The process ids of a file's events, behind the startup event."""
    with EventFile(path) as file:
        startup, *events = list(file.events())
        assert startup.startup is not None
        return [event.common.task.pid for event in events if event.common.task]


def test_events_in_order(tmp_path: Path, full_plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    one = Ring([record(time, time) for time in range(1, 9000, 3)])
    other = Ring([record(time, time) for time in range(2, 9000, 2)])
    path = leave(tmp_path / "out", full_plan, one, other)
    expected = sorted([*range(1, 9000, 3), *range(2, 9000, 2)])
    assert read(path) == expected
    [said] = [each.getMessage() for each in caplog.records]
    assert said.startswith(f"{path} is the spool of a collection that ended early: 7,499 event(s)")


def test_only_what_was_not_decoded(tmp_path: Path, full_plan: Plan) -> None:
    ring = Ring([record(time, time) for time in range(100)])
    path = leave(tmp_path / "out", full_plan, ring, decoded=Decoded(4096, 1 << 40, 40))
    assert read(path) == list(range(40, 100))


def test_stacks_of_another_boot_stay_numbers(
    tmp_path: Path, full_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = 0xFFFFFFFF81000000
    data = bytearray(record(1, 1) + address.to_bytes(8, "little"))
    data[32:34] = (1).to_bytes(2, "little")  # stack_length
    monkeypatch.setattr(describing, "boot_id", lambda: "another")
    path = leave(tmp_path / "out", full_plan, Ring([bytes(data)]))
    with EventFile(path) as file:
        [_, event] = file.events()
    assert event.kernel is not None
    assert event.kernel.stack_trace == [f"{address:#x}"]


def test_probes_that_came_later(tmp_path: Path, full_plan: Plan) -> None:
    function = Probe(ProbeType.KPROBE, "ip_rcv", (), address=0xFFFFFFFF81234560)
    user = UserProbe("dpif_recv:recv_upcall", "/usr/sbin/ovs-vswitchd")
    known = KnownProbes(())
    known.add_function(function)
    known.programs[7] = "/opt/ovs-vswitchd"
    known.add_user_probe(3, user)
    known.add_symbols([(0xFFFFFFFFC0000000, 100, "bpf_prog_1_retis")])
    first = bytearray(record(1, 1) + (0xFFFFFFFFC0000010).to_bytes(8, "little"))
    first[8:16], first[36:40] = function.address.to_bytes(8, "little"), bytes(4)
    first[32:34] = (1).to_bytes(2, "little")  # stack_length
    second = bytearray(record(2, 7))
    second[8:16], second[36:40] = (3).to_bytes(8, "little"), (3).to_bytes(4, "little")
    with new_spool(tmp_path / "out", full_plan, 1) as spool:
        Drainer(spool, [Ring([bytes(first), bytes(second)])], 1 << 20, known).round()
        spool.keep()
        assert not known.has_news
    with EventFile(tmp_path / "out.spool") as file:
        [_, one, other] = file.events()
    assert one.kernel is not None
    assert (one.kernel.symbol, one.kernel.probe_type) == ("ip_rcv", "kprobe")
    assert one.kernel.stack_trace == ["bpf_prog_1_retis+0x10"]
    assert other.userspace is not None
    assert other.userspace.symbol == "dpif_recv:recv_upcall"
    assert other.userspace.path == "/opt/ovs-vswitchd"


# The commands


@pytest.fixture
def left(tmp_path: Path, full_plan: Plan) -> Path:
    return leave(tmp_path / "out", full_plan, Ring([record(n, n) for n in range(1, 101)]))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)


def test_print(left: Path, tmp_path: Path) -> None:
    shown = run("print", "--format", "single-line", left).stdout.splitlines()
    assert len([line for line in shown if "[tp]" in line]) == 100
    assert run("print", left, "-o", tmp_path / "copy").exit_code == 0
    assert len((tmp_path / "copy").read_bytes().splitlines()) == 101
    assert read(tmp_path / "copy") == read(left)


def test_sort(left: Path, tmp_path: Path) -> None:
    assert run("sort", left, "-o", tmp_path / "sorted").exit_code == 0
    assert len((tmp_path / "sorted").read_bytes().splitlines()) == 101


def test_stats(left: Path) -> None:
    told: dict[str, Any] = json.loads(run("stats", "--json", left).stdout)
    assert told["total"]["events"] == 100


def test_python(left: Path, tmp_path: Path) -> None:
    script = tmp_path / "count.py"
    script.write_text("print(sum(1 for event in reader.events()))")
    assert run("python", "-i", left, script).stdout == "101\n"


def test_pcap(left: Path) -> None:
    assert run("pcap", "--list-probes", left).exit_code == 0


def test_without_the_command_line(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retis's Python library alone does not know how."""
    monkeypatch.setattr(source, "converters", {})
    with pytest.raises(EventFileError, match="'retis print -o' makes an event file of it"):
        EventFile(left)


def test_one_that_is_in_use(tmp_path: Path, full_plan: Plan) -> None:
    with (
        new_spool(tmp_path / "out", full_plan, 1),
        pytest.raises(EventFileError, match="in use by a collection that still runs"),
    ):
        EventFile(tmp_path / "out.spool")


# Damage


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged(
    left: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    """Bytes were changed, or are not there any more: the rest is read, or one line says why."""
    content = bytearray(left.read_bytes())
    for _ in range(data.draw(st.integers(0, 6))):
        # Mostly where it matters: the control page, headers, the description.
        at = data.draw(st.one_of(st.integers(0, 300), st.integers(4096, len(content) - 1)))
        piece = data.draw(st.binary(min_size=1, max_size=9))
        content[at : at + len(piece)] = piece
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    damaged = tmp_path / "damaged.spool"
    damaged.write_bytes(content[:cut])
    capsys.readouterr()
    code = main(["print", "--keep-going", str(damaged)])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "bug in retis" not in said
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == (code != 0)
    assert code in (0, 1)


def test_zeroes_where_a_disk_did_not_get_all(left: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a power cut the file may be longer than what was written."""
    size = left.stat().st_size
    with left.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(bytes(1000))
    assert left.stat().st_size == size
    with EventFile(left) as event_file:
        list(event_file.events())
    assert "damaged and left out" in caplog.text


@pytest.mark.parametrize("size", [1, 8, 40, 300])
def test_a_damaged_header_costs_its_chunk_only(
    tmp_path: Path, full_plan: Plan, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    rings = [Ring([record(time, time) for time in range(n, 1000, 4)]) for n in range(4)]
    # What looks like a header in a record's bytes, with nothing behind that would fit.
    rings[3].add(record(1000, int.from_bytes(CHUNK_MARK, "little")))
    path = leave(tmp_path / "out", full_plan, *rings)
    content = bytearray(path.read_bytes())
    chunks = [found.start() for found in re.finditer(CHUNK_MARK, content) if not found.start() % 8]
    at = chunks[2]  # the description's is the first
    assert content[at + 4] == Kind.RECORDS
    content[at : at + size] = bytes(size)
    path.write_bytes(content)
    assert [number for number in read(path) if number < 1000] == [
        number for number in range(1000) if number % 4 != 1
    ]
    assert f"bytes {at} to {chunks[3]} are damaged, what they held is left out" in caplog.text
