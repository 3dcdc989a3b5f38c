"""What is done after a capture: time for each event and peak memory, beside the reference library.

The reference library (``retis``, the original's own reader) parses each event and makes its text.
All read the same file, one after the other and again, each in a process of its own that is started
for it; what counts is each run's time by that of the reference in the same round, so that other
work on the machine disturbs less. What has no limit of time is slow, and measured once. Memory is
the sum of the proportional set sizes (PSS) of all processes, looked at in a round of its own, since
looking takes time. The file is in the page cache.

There are two files: in one the same few packets come up again and again, in the other each packet
has bytes of its own, so that no text of one can be used for another.

    .venv/bin/python bench/post.py [--events 1000000] [--runs 3] [--json FILE]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from post_events import write_events
from report import Report, Row
from session_memory import Session

_SAMPLE_EVERY = 0.05  # s
_MEMORY_LIMIT = 300.0  # MiB, of a sort
_REFERENCE = """
import sys, retis
for event in retis.EventFile(sys.argv[1]).events():
    str(event)
"""
_TARGET = "OUT"
_OUT = "out"  # beside the input


@dataclass(frozen=True, slots=True)
class Task:
    """What is measured: a command line, and how long it may take, by the reference's time."""

    name: str
    arguments: tuple[str, ...]
    limits: dict[int, float]  # by number of processes
    memory_limit: float | None = None


TASKS = (
    Task("print", ("print",), {1: 0.6, 2: 0.35}),
    Task("sort", ("sort",), {}, _MEMORY_LIMIT),
    Task("sort -o", ("sort", "-o", _TARGET), {1: 0.4, 2: 0.25}, _MEMORY_LIMIT),
    Task("pcap", ("pcap", "-o", _TARGET), {}),
    Task("stats", ("stats",), {1: 0.2, 2: 0.12}),
)


@dataclass(slots=True)
class Measured:
    """Of one task with one number of processes."""

    times: list[float] = field(default_factory=list)  # s
    peak: float = 0.0  # MiB


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _parse_arguments()
    if find_spec("retis") is None:
        print("post: the reference library (the package retis) is not installed", file=sys.stderr)
        return 2
    report = Report("post")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for own_packets, name in ((False, "packets repeat"), (True, "each packet its own")):
            path = Path(folder) / "events.json"
            write_events(path, options.events, own_packets=own_packets)
            report.rows += _measure(name, path, options)
    return report.finish(options.json)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure print, sort, pcap and stats.")
    parser.add_argument("--events", type=int, default=1_000_000, help="in each file")
    parser.add_argument("--runs", type=int, default=3, help="how often each is measured")
    parser.add_argument("--tasks", help="measure these only: print,sort -o")
    parser.add_argument("--folder", type=Path, help="for files of up to 2 GiB [default: TMPDIR]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a report there too")
    options = parser.parse_args()
    if options.runs < 1 or options.events < 2:
        parser.error("--runs must be 1 or more, --events 2 or more")
    known = [task.name for task in TASKS]
    wanted = options.tasks.split(",") if options.tasks else known
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"--tasks {unknown[0]} is none of {', '.join(known)}")
    options.tasks = [task for task in TASKS if task.name in wanted]
    return options


def _measure(name: str, path: Path, options: argparse.Namespace) -> Iterator[Row]:
    reference = Measured()
    measured = {(task.name, jobs): Measured() for task in options.tasks for jobs in (1, 2)}
    commands = {
        (task.name, jobs): _command(task, jobs, path) for task in options.tasks for jobs in (1, 2)
    }
    reference_command = [sys.executable, "-c", _REFERENCE, str(path)]
    limited = {task.name for task in options.tasks if task.limits}
    for number in range(options.runs):
        reference.times.append(_time_of(reference_command))
        for key, command in commands.items():
            if number > 0 and key[0] not in limited:
                continue
            # To replace a file takes longer: ext4 begins to write the new one to the disk at once.
            path.with_name(_OUT).unlink(missing_ok=True)
            measured[key].times.append(_time_of(command))
    reference.peak = _peak_of(reference_command)
    for key, command in commands.items():
        measured[key].peak = _peak_of(command)
    yield from _rows(f"{name}: reference", reference, options.events)
    for task in options.tasks:
        for jobs in (1, 2):
            title = f"{name}: {task.name}, {jobs} process{'es' if jobs > 1 else ''}"
            run = measured[task.name, jobs]
            yield from _rows(title, run, options.events, task.memory_limit)
            ratios = [a / b for a, b in zip(run.times, reference.times, strict=False)]
            yield Row("  by the reference", "", ratios, task.limits.get(jobs))


def _rows(title: str, run: Measured, events: int, limit: float | None = None) -> Iterator[Row]:
    yield Row(f"{title}, an event", "us", [seconds / events * 1e6 for seconds in run.times])
    yield Row("  peak memory", "MiB", [run.peak], limit)


def _command(task: Task, jobs: int, path: Path) -> list[str]:
    first, *rest = (str(path.with_name(_OUT)) if a == _TARGET else a for a in task.arguments)
    retis = [sys.executable, "-m", "retis_py", "--log-level", "warn"]  # silent if all is well
    return [*retis, first, "--jobs", str(jobs), *rest, str(path)]


# Running a command


def _time_of(command: list[str]) -> float:
    """Return the time that passed, in seconds."""
    start = time.monotonic()
    with _started(command) as process:
        _, messages = process.communicate()
    taken = time.monotonic() - start
    _check(command, process, messages)
    return taken


def _peak_of(command: list[str]) -> float:
    """Return the most memory that its processes had, in MiB."""
    peak = 0.0
    with _started(command) as process:
        session = Session(process.pid)
        while process.poll() is None:
            peak = max(peak, session.memory().pss)
            time.sleep(_SAMPLE_EVERY)
        _, messages = process.communicate()
    _check(command, process, messages)
    return peak


def _started(command: list[str]) -> "subprocess.Popen[bytes]":
    """Start it in a session of its own, which holds its children too."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _check(command: list[str], process: "subprocess.Popen[bytes]", messages: bytes) -> None:
    if process.returncode != 0 or messages:
        text = messages.decode(errors="replace")
        sys.exit(f"post: {' '.join(command)} ended with {process.returncode}:\n{text}")


if __name__ == "__main__":
    sys.exit(main())
