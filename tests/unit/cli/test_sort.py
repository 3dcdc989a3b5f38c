import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lab.startup import STARTUP
from retis_py.cli.main import cli, main
from retis_py.errors import EventFileError

pytestmark = pytest.mark.usefixtures("ways")


def event(time: int, packet: int, device: str = "eth0") -> dict[str, Any]:
    ids = {"orig_head": packet, "timestamp": packet, "skb": 3}
    dev = {"name": device, "ifindex": 1}
    return {"common": {"timestamp": time}, "skb-tracking": ids, "dev": dev}


EVENTS = [event(10, 1), event(11, 2, "lo"), event(12, 1, "lo"), event(9, 3)]


def written(path: Path, *events: Any, version: str = "v1.7.0") -> Path:
    startup = STARTUP | {"startup": STARTUP["startup"] | {"retis_version": version}}
    path.write_text("".join(f"{json.dumps(each)}\n" for each in (startup, *events)))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(tmp_path / "events", *EVENTS)


def sort(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["sort", *map(str, arguments)], catch_exceptions=False)


def times(path: Path) -> list[list[int]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [[each["common"]["timestamp"] for each in series] for series in lines]


def test_text(source: Path) -> None:
    result = sort(source)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:6] == [
        "1",
        "  collected with Retis v1.7.0",
        "  on machine 6.1 #1 x86_64",
        "  cmdline retis collect",
        "",
        "9 #30000000000000003 (skb 3) n 0",
    ]
    assert lines[6:] == [
        "  if 1 (eth0)",
        "",
        "10 #10000000000000001 (skb 3) n 0",
        "  if 1 (eth0)",
        "  ↳ 12 #10000000000000001 (skb 3) n 1",
        "      if 1 (lo)",
        "",
        "11 #20000000000000002 (skb 3) n 0",
        "  if 1 (lo)",
        "",
    ]
    single = sort(source, "--format", "single-line", "--utc").stdout.splitlines()
    assert single[2:4] == [
        "1970-01-01 00:00:05.000000 #10000000000000001 (skb 3) n 0 if 1 (eth0)",
        "  ↳ 1970-01-01 00:00:05.000000 #10000000000000001 (skb 3) n 1 if 1 (lo)",
    ]


def test_a_sorted_file_prints_as_the_sort_did(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "sorted"
    both = sort(source, "-o", out, "--print")
    assert both.stdout == sort(source).stdout
    assert times(out) == [[1], [9], [10, 12], [11]]
    printed = CliRunner().invoke(cli, ["print", str(out)])
    assert printed.stdout == both.stdout
    assert sort(source, "-o", out).stdout == ""


def test_series_are_selected_whole(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "sorted"
    assert sort(source, "-o", out, "--where", 'dev.name == "lo"').exit_code == 0
    assert times(out) == [[1], [10, 12], [11]]
    assert "if 1 (eth0)" in sort(source, "--where", 'dev.name == "lo"').stdout
    sort(source, "-o", out, "-f", "tcp")
    assert times(out) == [[1]]


def test_a_window(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "sorted"
    assert sort(source, "-o", out, "--max-buffer", 1).exit_code == 0
    assert times(out) == [[1], [10], [11], [9], [12]]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    code = main(["sort", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    return code, err


def test_a_file_is_not_sorted_onto_itself(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = source.read_bytes()
    symbolic, hard = tmp_path / "symbolic", tmp_path / "hard"
    symbolic.symlink_to(source)
    hard.hardlink_to(source)
    for out in (source, symbolic, hard):
        code, error = refusal(capsys, source, "-o", out)
        assert code == 2
        assert "is the input itself" in error
    assert source.read_bytes() == before


def test_sorted_and_old_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = tmp_path / "series"
    series.write_text(f"[{json.dumps(STARTUP)}]\n")
    code, error = refusal(capsys, series)
    assert code == 1
    assert f"{series} is sorted already; 'retis print' shows it" in error
    old = written(tmp_path / "old", *EVENTS, version="v1.6.1")
    out = tmp_path / "out"
    code, error = refusal(capsys, old, "-o", out)
    assert code == 1
    assert "was written by retis 1.6.1" in error
    assert not out.exists()
    assert sort(old).stdout.count("↳") == 1
    new = tmp_path / "new"
    CliRunner().invoke(cli, ["print", str(old), "-o", str(new)])
    assert sort(new, "-o", out).exit_code == 0
    assert times(out) == [[1], [9], [10, 12], [11]]


def test_damage_leaves_what_was_there(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.write_text("precious")
    damaged = tmp_path / "damaged"
    lines = source.read_text().splitlines(keepends=True)
    damaged.write_text("".join([*lines[:3], "garbage\n", *lines[3:]]))
    code, error = refusal(capsys, damaged, "-o", out)
    assert code == 1
    assert f"damaged: line 4 (byte {sum(map(len, lines[:3]))}) is not JSON" in error
    assert error.endswith("'head -n 3' keeps what is before it, --keep-going skips it\n")
    assert out.read_text() == "precious"
    assert sort(damaged, "-o", out, "--keep-going").exit_code == 0
    assert times(out) == [[1], [9], [10, 12], [11]]


def test_a_last_line_cut_short(source: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(source.read_bytes()[:-20])
    run = [sys.executable, "-m", "retis_py", "sort", str(cut), "-o", str(tmp_path / "out")]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "line 5 " in done.stderr
    assert "is cut short and left out" in done.stderr
    assert times(tmp_path / "out") == [[1], [10, 12], [11]]


def test_standard_input_and_closed_output(source: Path) -> None:
    run = [sys.executable, "-m", "retis_py", "sort", "-"]
    with source.open("rb") as file:
        piped = subprocess.run(run, stdin=file, capture_output=True, text=True, check=True)
    assert piped.stdout == sort(source).stdout
    reading, writing = os.pipe()
    os.close(reading)
    nobody = subprocess.run(
        [*run[:-1], str(source)], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert nobody.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/missing"], "no such file"),
        (["/"], "Is a directory"),
        (["--max-buffer", "-1"], "max-buffer"),
        (["--where", "nonsense"], "nonsense"),
        (["-f", "nonsense !"], "filter expression"),
    ],
)
def test_bad_input(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], source: Path
) -> None:
    name = [] if arguments[0].startswith("/") else [source]
    code, error = refusal(capsys, *arguments, *name)
    assert code in {1, 2}
    assert message in error


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("place", ["common", "orig_head", "timestamp", "upcall_ts"])
def test_a_number_too_large_for_64_bits_is_damage(
    place: str, separators: tuple[str, str], tmp_path: Path
) -> None:
    large = event(10, 1)
    ovs = {"event_type": "upcall_enqueue", "ret": 0, "cmd": 1, "upcall_ts": 1, "upcall_cpu": 1}
    large["ovs"] = ovs | {"queue_id": 1}
    section, field = {
        "common": ("common", "timestamp"),
        "upcall_ts": ("ovs", "upcall_ts"),
    }.get(place, ("skb-tracking", place))
    large[section][field] = 1 << 64
    path = tmp_path / "large"
    lines = [json.dumps(each, separators=separators) for each in (STARTUP, EVENTS[0], large)]
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(EventFileError, match=r"line 3 \(byte [0-9]+\) is no event: .* 2\^64"):
        sort(path)
    out = tmp_path / "out"
    assert sort(path, "-o", out, "--keep-going").exit_code == 0
    assert times(out) == [[1], [10]]
