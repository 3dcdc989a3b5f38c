"""Start-up: the time until probes are attached, and the memory of all processes meanwhile.

Cold is a start that has to compile the program, cached one that finds it compiled. The cache is the
benchmark's own, and empty before each cold start.

Times end when the ready file appears (inotify). On a machine that is busy with other things the
time that passes says little, and the CPU time beside it more. Time and memory are measured in
runs of their own, since looking at memory takes time. Memory is the sum of the proportional set
sizes (PSS) of all processes, so that pages which they share count once; pages shared with
processes of others count in part, so the resident set sizes (RSS), in which every page counts in
full, stand beside them.

Python keeps compiled modules, here in a folder of the benchmark's own that a first run, which does
not count, has filled: whether this machine's environment forbids that makes no difference.

    .venv/bin/python bench/startup.py [--runs 5] [--json FILE]
"""

import argparse
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from report import Report, Row
from session_memory import PROC, Memory, Session

PROFILES = ("dropmon", "ifdump")
ATTACHED_LIMIT = 60.0  # MiB

_SAMPLE_EVERY = 0.003  # s
_SETTLE = 0.3  # s, from attached to the look at what is left
_PATIENCE = 30.0  # s, beyond which a run has failed
_MIB = 1 << 20
_IN_CREATE = 0x100  # include/uapi/linux/inotify.h


@dataclass(frozen=True, slots=True)
class State:
    """What a start finds, and its limits."""

    name: str
    time_limit: float  # s
    peak_limit: float  # MiB
    cached: bool

    def prepare(self) -> None:
        """Make the cache what the start is to find."""
        if not self.cached:
            shutil.rmtree(_cache(), ignore_errors=True)


STATES = (
    State("cold", time_limit=0.8, peak_limit=200.0, cached=False),
    State("cached", time_limit=0.2, peak_limit=60.0, cached=True),
)


@dataclass(frozen=True, slots=True)
class MemoryRun:
    """What one run took."""

    peak_pss: float
    peak_rss: float
    attached: Memory
    maps: float


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _parse_arguments()
    if os.geteuid() != 0:
        print("startup: attaching probes needs root", file=sys.stderr)
        return 2
    report = Report("startup")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder, "python"))
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        _measure(report, options.runs)
    return report.finish(options.json)


def _cache() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"])


def _measure(report: Report, runs: int) -> None:
    for profile in PROFILES:
        for state in STATES:
            what = f"{profile}, {state.name}"
            _time_to_attached(profile, state)
            times = [_time_to_attached(profile, state) for _ in range(runs)]
            wall, cpu = zip(*times, strict=True)
            report.rows.append(Row(f"{what}: start to attached", "s", wall, state.time_limit))
            report.rows.append(Row(f"{what}: start to attached, CPU", "s", cpu))
            report.rows += _memory_rows(
                what, state, [_memory_of(profile, state) for _ in range(runs)]
            )
    for code in ("pass", "import bcc"):
        seconds = [_time_of_python(code) for _ in range(runs)]
        report.rows.append(Row(f"compare: python -c '{code}'", "s", seconds))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure start-up time and memory.")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a report there too")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    return options


def _memory_rows(start: str, state: State, runs: list[MemoryRun]) -> Iterator[Row]:
    def row(what: str, value: Callable[[MemoryRun], float], limit: float | None = None) -> Row:
        return Row(f"{start}: {what}", "MiB", [value(run) for run in runs], limit)

    yield row("peak, PSS", lambda run: run.peak_pss, state.peak_limit)
    yield row("peak, RSS", lambda run: run.peak_rss)
    yield row("attached, PSS", lambda run: run.attached.pss, ATTACHED_LIMIT)
    yield row("attached, RSS", lambda run: run.attached.rss)
    yield row("attached, BPF maps in the kernel", lambda run: run.maps)


# Running retis


@contextmanager
def _collecting(profile: str, ready: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a collection in a session of its own, which holds its children too, and end it."""
    installed = Path(sys.executable).with_name("retis")
    retis = [str(installed)] if installed.exists() else [sys.executable, "-m", "retis_py"]
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [*retis, "-p", profile, "collect", "--ready-file", str(ready)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,
        )
        try:
            yield process
            process.send_signal(signal.SIGINT)
            status = process.wait(_PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            messages.seek(0)
            text = messages.read().decode(errors="replace")
    if status != 0 or not ready.exists():
        sys.exit(f"startup: retis -p {profile} collect ended with {status}:\n{text}")


def _time_to_attached(profile: str, state: State) -> tuple[float, float]:
    """Return the time that passed and the CPU time used, the compiler's too, in seconds."""
    state.prepare()
    with tempfile.TemporaryDirectory() as folder, _watch(Path(folder)) as appeared:
        ready = Path(folder, "ready")
        start = time.monotonic()
        with _collecting(profile, ready) as process:
            end = appeared(process)
            cpu = _cpu_time(process.pid)
    return end - start, cpu


@contextmanager
def _watch(folder: Path) -> Iterator[Callable[[subprocess.Popen[bytes]], float]]:
    """Give a function that waits for the first file in the folder and returns when that was."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_CLOEXEC)
    if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(folder), _IN_CREATE) < 0:
        raise OSError(ctypes.get_errno(), "inotify")

    def appeared(process: subprocess.Popen[bytes]) -> float:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            if select.select([watch], [], [], 0.1)[0]:
                break
        return time.monotonic()

    try:
        yield appeared
    finally:
        os.close(watch)


def _memory_of(profile: str, state: State) -> MemoryRun:
    state.prepare()
    peak_pss = peak_rss = 0.0
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "ready")
        with _collecting(profile, ready) as process:
            session = Session(process.pid)
            deadline = time.monotonic() + _PATIENCE
            while not ready.exists() and time.monotonic() < deadline and process.poll() is None:
                memory = session.memory()
                peak_pss, peak_rss = max(peak_pss, memory.pss), max(peak_rss, memory.rss)
                time.sleep(_SAMPLE_EVERY)
            time.sleep(_SETTLE)
            attached = session.memory()
            maps = _map_memory(process.pid)
    return MemoryRun(max(peak_pss, attached.pss), max(peak_rss, attached.rss), attached, maps)


def _time_of_python(code: str) -> float:
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - start


# Reading /proc


def _cpu_time(pid: int) -> float:
    """Return the CPU time (s) of a process and the children that it waited for, proc(5)."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    # Fields 14 to 17; what is left begins with field 3.
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _map_memory(pid: int) -> float:
    """Return what the kernel holds for the BPF maps of a process (kernel/bpf/syscall.c)."""
    maps = {}
    for path in (PROC / str(pid) / "fdinfo").iterdir():
        facts = dict(
            line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line
        )
        if "map_id" in facts:  # a map that is mapped has several descriptors
            maps[facts["map_id"]] = int(facts["memlock"])
    return sum(maps.values()) / _MIB


if __name__ == "__main__":
    sys.exit(main())
