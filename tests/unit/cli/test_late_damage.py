"""Damaged events that sorting takes along unseen: shown, selected and saved all the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.cli import Result, retis
from lab.startup import STARTUP

pytestmark = pytest.mark.usefixtures("ways")

ROOT = Path(__file__).parents[3]
ICMP = "AAAAAAAAAAAAAAAACABFAAAcAAEAAEABOvcKAAABCgAAAggA9/8AAAAA"


def event(timestamp: int, data: str = ICMP, device: str = "eth0", packet: int = 7) -> bytes:
    told: dict[str, Any] = {
        "common": {"timestamp": timestamp, "task": {"pid": 1, "tgid": 1, "comm": "ping"}},
        "skb-tracking": {"orig_head": 7, "timestamp": packet, "skb": 7},
        "packet": {"len": 42, "capture_len": 42, "data": data},
        "dev": {"name": device, "ifindex": 1},
    }
    return json.dumps(told, separators=(",", ":")).encode()


DAMAGED = {
    "base64": (event(3, data="!"), "is no event: Invalid base64 encoded string"),
    "NUL": (event(3, device="NUL").replace(b"NUL", b"\0"), "is not JSON"),
    "surrogate": (event(3, device="lone").replace(b"lone", rb"\ud800"), "is not JSON"),
}


@pytest.fixture(params=DAMAGED)
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file with an event that cannot be read between two that can, of the same packet."""
    line, message = DAMAGED[request.param]
    path = tmp_path / "damaged.data"
    startup = json.dumps(STARTUP, separators=(",", ":")).encode()
    lines = (startup, event(2), line, event(4), b"")
    path.write_bytes(b"\n".join(lines))
    return path, message


def sort(*arguments: str | Path) -> Result:
    return retis("sort", *arguments, environment={"PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("selection", [[], ["-f", "icmp"]])
def test_one_line_that_says_so(damaged: tuple[Path, str], selection: list[str]) -> None:
    path, message = damaged
    run = sort(path, *selection)
    assert run.exit_code == 1
    assert run.stdout.startswith("1\n  collected with")
    assert run.stderr.startswith(f"Error: {path}: a line {message}")
    assert run.stderr.endswith("'retis print' tells which one, --keep-going skips it\n")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("selection", [[], ["-f", "icmp"]])
def test_only_the_damaged_event_is_skipped(damaged: tuple[Path, str], selection: list[str]) -> None:
    path, _ = damaged
    run = sort(path, "--keep-going", "--format", "single-line", *selection)
    assert run.exit_code == 0
    assert [line.split()[:2] for line in run.stdout.splitlines()[1:]] == [
        ["2", "[ping]"],
        ["↳", "4"],
    ]
    assert "1 damaged event(s) were skipped" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_selection_is_saved_without_damaged_events(
    damaged: tuple[Path, str], tmp_path: Path
) -> None:
    path, message = damaged
    out = tmp_path / "out"
    run = sort(path, "-f", "icmp", "-o", out)
    assert run.exit_code == 1
    assert message in run.stderr
    assert not out.exists()
    assert sort(path, "-f", "icmp", "-o", out, "--keep-going").exit_code == 0
    (_, series) = (json.loads(line) for line in out.read_text().splitlines())
    assert [each["common"]["timestamp"] for each in series] == [2, 4]


def test_the_file_is_whole_when_nobody_reads_the_text(tmp_path: Path) -> None:
    path, out = tmp_path / "long.data", tmp_path / "out"
    lines = [json.dumps(STARTUP).encode(), *(event(n, packet=n) for n in range(2, 5000)), b""]
    path.write_bytes(b"\n".join(lines))
    command = f'"{sys.executable}" -m retis_py sort --print -o "{out}" "{path}" | true'
    run = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert run.stderr == ""
    assert out.read_bytes().count(b'"skb-tracking"') == 4998
