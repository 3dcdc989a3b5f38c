"""A long collection under a load that comes and goes; nothing of it may grow.

    python tests/soak/session.py [--seconds S] [--folder DIR]

Each cycle of five seconds has a pause, two rates, a burst, connections and drops; in every fourth
the process that drains does not run for 0.3 s when the burst comes, so that there are losses to
count. Ends with 0; with 1 if something rises, or an event is missing and not counted as lost; with
2 if it cannot run here.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

from lab import cli, netns, traffic
from lab.collection import namespace_number
from soak.measured import TrackedPackets, descriptors, processes, resident, spool_size
from soak.received import Received
from soak.trend import Trend, second_half

PORT = 41900
PROBE = "net:netif_rx"  # once for each datagram, in the namespace that it comes to
CYCLE = 5  # s
_LOAD = (
    ("udp 200 1", 1),
    ("udp 1500 1", 2),
    ("burst 3000", 3),
    ("tcp 20", 3.7),
    ("closed 30", 4.2),
)
_HELD = 4  # one in so many cycles
_HELD_FOR = 0.3  # s

_TRACEPOINTS = ("net:netif_rx", "net:net_dev_start_xmit", "skb:consume_skb", "skb:kfree_skb/stack",
                "udp:udp_fail_queue_rcv_skb", "tcp:tcp_probe")  # fmt: skip
_FUNCTIONS = ("kprobe:ip_rcv", "kretprobe:udp_queue_rcv_skb", "kprobe:tcp_v4_rcv/stack")
_KPROBES = Path("/sys/bus/event_source/devices/kprobe")
_MIB = 1 << 20

# What may be there more at the end of the second half than at its begin without being a trend.
_SHORT = 600.0  # s: until then Python and the kernel are still warming up
_ALLOWED = {"resident": _MIB // 4, "descriptors": 0, "entries": 64, "spool": _MIB // 4}
_ALLOWED_AT_FIRST = _ALLOWED | {"resident": 2 * _MIB, "spool": _MIB}


@dataclass(slots=True)
class Series:
    """Values by the second, by what was measured of whom."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, what: str, whom: str, value: float) -> None:
        """Add one."""
        self.values[what, whom].append(value)


def main() -> int:
    """See the module."""
    options = _parse_arguments()
    if os.geteuid() != 0:
        print("soak: needs root", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="retis-soak-", dir=options.folder) as name:
        return _soak(Path(name) / "events", options.seconds)


def _soak(path: Path, seconds: float) -> int:
    series = Series()
    with netns.pair(ipv6=False) as link, _servers(link):
        received = Received(path, PROBE, namespace_number(link.right), PORT)
        with cli.background(*_collect(path)) as running:
            pid = running.process.pid
            with _load(link) as load:
                sent = _measure(pid, load, series, received, seconds)
            result = running.stop()
        received.read(ended=True)
    print(result.stderr, end="", file=sys.stderr)
    failed = [*_wrong_counts(sent, received, result)]
    failed += [*_rising(series, seconds)]
    for line in failed:
        print(f"FAILED: {line}")
    return int(bool(failed))


def _collect(path: Path) -> list[str | Path]:
    probes = [f"tp:{probe}" for probe in _TRACEPOINTS]
    if _KPROBES.exists():
        probes += _FUNCTIONS
    asked = [word for probe in probes for word in ("-p", probe)]
    collectors = "skb,skb-drop,skb-tracking,dev,ns"
    rotated = ["-o", path, "--out-rotate", "4MB", "--buffer-size", "1MB"]
    return ["collect", "-c", collectors, *asked, "-f", f"portrange {PORT}-{PORT + 2}", *rotated]


@contextmanager
def _servers(link: netns.Pair) -> Iterator[None]:
    script = str(Path(traffic.__file__))
    right = link.right
    with (
        right.background("/usr/bin/python3", script, "drain", str(PORT)),
        right.background("/usr/bin/python3", script, "stream", str(PORT + 1), str(1 << 60)),
    ):
        right.wait_for_port(PORT, udp=True)
        right.wait_for_port(PORT + 1)
        yield


@contextmanager
def _load(link: netns.Pair) -> Iterator["subprocess.Popen[str]"]:
    program = str(Path(__file__).with_name("load.py"))
    command = ["ip", "netns", "exec", link.left.ns, "/usr/bin/python3", program]
    with subprocess.Popen(
        [*command, link.right.ip4, str(PORT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _measure(
    pid: int, load: "subprocess.Popen[str]", series: Series, received: Received, seconds: float
) -> int:
    """Load and measure for so long; return how many datagrams were sent."""
    tracked = TrackedPackets(pid)
    stop = threading.Event()
    sent: list[int] = []
    loading = threading.Thread(target=lambda: sent.append(_drive(pid, load, stop)))
    loading.start()
    try:
        begun = time.monotonic()
        for second in range(int(seconds)):
            time.sleep(max(0.0, begun + second - time.monotonic()))
            _take(pid, series)
            series.add("entries", "tracked packets", tracked.count())
            received.read()
    finally:
        stop.set()
        loading.join()
        tracked.close()
    return sent[0]


def _drive(pid: int, load: "subprocess.Popen[str]", stop: threading.Event) -> int:
    """Tell the load what to send until it is to stop; return how many datagrams that were."""
    assert load.stdin
    assert load.stdout
    begun = time.monotonic()
    sent = cycle = 0
    while not stop.is_set():
        for command, at in _LOAD:
            stop.wait(max(0.0, begun + cycle * CYCLE + at - time.monotonic()))
            held = command.startswith("burst") and cycle % _HELD == _HELD - 1
            if held:
                os.kill(pid, signal.SIGSTOP)
            load.stdin.write(f"{command}\n")
            load.stdin.flush()
            sent = int(load.stdout.readline())
            if held:
                time.sleep(_HELD_FOR)
                os.kill(pid, signal.SIGCONT)
        cycle += 1
        stop.wait(max(0.0, begun + cycle * CYCLE - time.monotonic()))
    return sent


def _take(pid: int, series: Series) -> None:
    for each, name in processes(pid).items():
        series.add("resident", name, resident(each))
        series.add("descriptors", name, descriptors(each))
    series.add("spool", "on disk", spool_size(pid))


def _wrong_counts(sent: int, received: Received, result: cli.Result) -> Iterator[str]:
    lost = _lost(result.stderr)
    print(
        f"{sent:,} datagrams sent, {received.count:,} received, {lost:,} counted as lost;"
        f" {received.events:,} events of all probes in {received.files} files"
    )
    if result.exit_code:
        yield f"retis collect ended with {result.exit_code}"
    if received.twice:
        yield f"{received.twice:,} datagrams came twice"
    if sent != received.count + lost:
        yield f"{sent - received.count - lost:,} datagrams are neither there nor counted as lost"
    if not sent or not received.files:
        yield "nothing was sent"


def _lost(stderr: str) -> int:
    pattern = rf"\[WARN\] ([\d,]+) event\(s\) lost at raw_tracepoint:{PROBE}: (?!tracking)"
    return sum(int(count.replace(",", "")) for count in re.findall(pattern, stderr))


def _rising(series: Series, seconds: float) -> Iterator[str]:
    allowed = _ALLOWED_AT_FIRST if seconds < _SHORT else _ALLOWED
    print(f"{'':<12}{'':<17}{'mean':>14}{'rise':>12}{'%/h':>10}{'at least':>10}")
    for (what, whom), values in series.values.items():
        try:
            trend: Trend = second_half(values, 1.0, CYCLE)
        except ValueError as error:
            yield f"{what}, {whom}: {error}"
            continue
        print(
            f"{what:<12}{whom:<17}{trend.mean:>14,.0f}{trend.rise:>12,.0f}"
            f"{trend.slope:>10.2f}{trend.slope_at_least:>10.2f}"
        )
        if trend.rises(allowed[what]):
            yield f"{what}, {whom}: rises by {trend.slope:.2f} % an hour"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--folder", type=Path, help="where event files go until they are read")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
