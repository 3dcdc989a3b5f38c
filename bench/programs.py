"""What a program's runs cost, in the kernel's own statistics, and packets that make it run.

Datagrams go over the loopback of a namespace made for that. The kernel adds up the time of every
run of a BPF program (BPF_ENABLE_STATS), and the two looks at the clock for that are in it. What is
shown is time by runs, so that other work on the machine disturbs little.
"""

import argparse
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

NAMESPACE = f"retis-bench-{os.getpid()}"
PROBE = "tp:net:netif_receive_skb"

_PATIENCE = 30.0  # s, beyond which a run has failed
_SETTLE = 0.2  # s
_SENDER = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.connect(("127.0.0.1", 9))
    for _ in range(int(sys.argv[1])):
        try:
            s.send(bytes(64))
        except ConnectionRefusedError:
            s.send(bytes(64))
"""


class Count(NamedTuple):
    """A program's runs so far, and their time in ns."""

    runs: int
    time: int


def parse_arguments(description: str) -> argparse.Namespace:
    """Parse the options that such benchmarks have; needs root, else exits with code 2."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured")
    parser.add_argument("--packets", type=int, default=50_000, help="datagrams in each run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a report there too")
    options = parser.parse_args()
    if options.runs < 1 or options.packets < 1:
        parser.error("--runs and --packets must be 1 or more")
    if os.geteuid() != 0:
        parser.error("attaching probes needs root")
    return options


def measure(pid: int, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Return ns a run of the probe's program, and by its runs ns of all programs, in each burst."""
    numbers = _programs(pid)
    [probe] = [number for number, name in numbers.items() if name.startswith("retis_raw_trace")]

    def read() -> dict[int, Count]:
        found = counts(pid)
        return {number: found[number] for number in numbers}

    own, all_of_it = [], []
    for spent in bursts(read, options):
        runs, taken = spent[probe]
        own.append(taken / runs)
        all_of_it.append(sum(count.time for count in spent.values()) / runs)
    return own, all_of_it


def bursts(
    read: Callable[[], dict[int, Count]], options: argparse.Namespace
) -> Iterator[dict[int, Count]]:
    """Send the datagrams; yield what each program's counters grew by. The first does not count."""
    for number in range(options.runs + 1):
        before = read()
        send(options.packets)
        after = read()
        time.sleep(_SETTLE)  # a collector that lags behind catches up
        if number > 0:
            yield {
                key: Count(after[key].runs - before[key].runs, after[key].time - before[key].time)
                for key in after
            }


def send(packets: int) -> None:
    """Send datagrams to a port of the namespace where nobody listens."""
    command = [sys.executable, "-c", _SENDER, str(packets)]
    subprocess.run(["ip", "netns", "exec", NAMESPACE, *command], check=True)


@contextmanager
def namespace() -> Iterator[None]:
    """Have the namespace NAMESPACE, with its loopback up, while the block runs."""
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


@contextmanager
def collecting(
    arguments: Sequence[str], collectors: str = "skb,dev", probe: str = PROBE
) -> Iterator[subprocess.Popen[bytes]]:
    """Have ``retis collect`` run at the probe meanwhile, with these arguments."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as messages:
        ready = Path(folder) / "ready"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "retis_py", "collect", "-c", collectors, "-p", probe),
                *(*arguments, "-o", "/dev/null", "--ready-file", str(ready)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
        )
        try:
            deadline = time.monotonic() + _PATIENCE
            while not ready.exists():
                if time.monotonic() > deadline or process.poll() is not None:
                    messages.seek(0)
                    sys.exit(f"retis did not start:\n{messages.read().decode()}")
                time.sleep(0.02)
            yield process
            process.send_signal(signal.SIGINT)
            process.wait(_PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def statistics() -> Iterator[None]:
    """Have the kernel count while the block runs, whoever else wants that."""
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    descriptor = libbpf.bpf_enable_stats(0)  # BPF_STATS_RUN_TIME
    if descriptor < 0:
        sys.exit(f"BPF_ENABLE_STATS: {os.strerror(-descriptor)}")
    try:
        yield
    finally:
        os.close(descriptor)


def counts(pid: int) -> dict[int, Count]:
    """Return the counters of a process's programs by number, /proc/PID/fdinfo."""
    found = {}
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            facts = dict(re.findall(r"^(\w+):\s*(\d+)$", path.read_text(), re.MULTILINE))
        except FileNotFoundError:  # closed meanwhile
            continue
        if "prog_id" in facts and "run_cnt" in facts:
            count = Count(int(facts["run_cnt"]), int(facts["run_time_ns"]))
            found[int(facts["prog_id"])] = count
    return found


def _programs(pid: int) -> dict[int, str]:
    """Return the names of a process's programs by number."""
    names = {}
    for number in counts(pid):
        command = ["bpftool", "-j", "prog", "show", "id", str(number)]
        shown = subprocess.run(command, check=True, capture_output=True).stdout
        names[number] = json.loads(shown)["name"]
    return names
