"""A collection to which something happens, and what is looked at afterwards."""

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import cli, netns
from lab.leftovers import Traces
from lab.shell_job import HEEDS_HANG_UPS
from lab.spooled import PROBE, here, load, losses
from retis_py.cli.main import main

RETIS = (sys.executable, "-m", "retis_py")


@contextmanager
def collecting(traces: Traces, *arguments: str | Path) -> Iterator[cli.Running]:
    """A collection whose traces are noted."""
    with cli.background(
        "collect", *PROBE, *arguments, environment=traces.environment, prefix=HEEDS_HANG_UPS
    ) as running:
        traces.note(running.process.pid)
        assert traces.kinds == {"prog", "map", "link"}, traces.kinds
        yield running


def assert_file(link: netns.Pair, path: Path, count: int) -> None:
    """The file has so many, and can be printed and sorted (in this process, which is quicker)."""
    found = len(here(link, load(path)))
    assert found == count, found
    for command in ("print", "sort"):
        copy = path.with_name(f"{path.name}-{command}")
        assert main([command, str(path), "-o", str(copy)]) == 0
        assert copy.read_bytes().count(b"net:netif_rx") >= count
        copy.unlink()


def error_of(stderr: str) -> str:
    """The one line that says what failed; beside it there may be messages."""
    [line] = [each for each in stderr.splitlines() if not re.match(r"[\d:]+ \[\w+\] ", each)]
    assert line.startswith("Error: "), line
    return line.removeprefix("Error: ")


def assert_said(stderr: str, count: int) -> None:
    """The end says how many, and that none of them was lost."""
    assert f"[INFO] {count:,} event(s)" in stderr, stderr
    assert losses(stderr) == 0, stderr


def caught(pid: int, number: int) -> bool:
    """Whether a process handles a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    [mask] = re.findall(r"^SigCgt:\s+(\w+)$", status, re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


def waits_for_decoder(pid: int) -> bool:
    """Whether the end of the capture is over: SIGINT is handled again, SIGHUP ignored."""
    return caught(pid, signal.SIGINT) and not caught(pid, signal.SIGHUP)
