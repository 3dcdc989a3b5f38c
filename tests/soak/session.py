"""A long collection under a load that comes and goes; nothing of it may grow.

    python tests/soak/session.py [--seconds S] [--folder DIR]

Where the kernel has kprobes, functions are probed too, and where it has Open vSwitch's datapath and
there is a daemon with USDT probes, the load passes through it, followed (--ovs-track).

Each cycle of five seconds has two rates, a burst, connections and drops; in every fourth the
process that drains does not run for 0.3 s when the burst comes, so that there are losses to count.
Then all is decoded and rests for a second, and what the collection still has may not rise: what
waits in between depends on what else the machine does, as does how long a cycle takes.

Ends with 0; with 1 if something rises, or an event is missing and not counted as lost; with
2 if it cannot run here.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

from lab import capabilities, cli, netns, ovs, traffic
from lab.collection import namespace_number
from soak.measured import TrackedPackets, WatchedSpool, descriptors, processes, resident
from soak.received import Received
from soak.trend import Trend, second_half

# A run of its own: lost events do not tell whose packets they were of.
PORT = 10_000 + os.getpid() % 5_000 * 4
PROBE = "net:net_dev_start_xmit"  # once for each packet, in the namespace that sends it
CYCLE = 5  # s
_LOAD = (
    ("udp 200 1", 0),
    ("udp 1500 1", 1),
    ("burst 3000", 2),
    ("tcp 20", 2.7),
    ("closed 30", 3.2),
)
_HELD = 4  # one in so many cycles
_HELD_FOR = 0.3  # s
_RESTS = 1.2  # s: free memory is given back each second, and the last connection is closed
_CATCHES_UP = 60.0  # s, at most
_FEWEST = 8  # cycles

_TRACEPOINTS = ("net:netif_rx", "net:net_dev_start_xmit", "skb:consume_skb", "skb:kfree_skb/stack",
                "udp:udp_fail_queue_rcv_skb", "tcp:tcp_probe")  # fmt: skip
_FUNCTIONS = ("kprobe:ip_rcv", "kretprobe:udp_queue_rcv_skb", "kprobe:tcp_v4_rcv/stack")
_MIB = 1 << 20

# What may be there more at the end of the second half than at its begin without being a trend.
_SHORT = 600.0  # s: until then Python and the kernel are still warming up
_ALLOWED = {"resident": _MIB // 8, "descriptors": 0, "entries": 64, "spool": _MIB // 4}
_ALLOWED_AT_FIRST = _ALLOWED | {"resident": 2 * _MIB, "spool": _MIB}
# It is given back 8 MiB at a time, which can beat with cycles: its line says nothing.
_SAW = ("spool", "decoded")
_DECODED_AT_MOST = 12 * _MIB  # with what was being decoded then
_DECODED_AT_REST = 9 * _MIB  # with what describes events, which stays


@dataclass(slots=True)
class Series:
    """Values at rest, a cycle each, by what was measured of whom; and the most under load."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    most: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    interval: float = CYCLE  # s, on average

    def add(self, what: str, whom: str, value: float, *, at_rest: bool) -> None:
        """Add one."""
        self.most[what, whom] = max(self.most[what, whom], value)
        if at_rest:
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
    with _network() as network, _servers(network.link):
        link = network.link
        numbers = [namespace_number(end) for end in network.ends]
        received = Received(path, PROBE, numbers, PORT)
        with cli.background(*_collect(path, network)) as running, _load(link) as load:
            before = _packets(network)
            driver = Driver(running.process.pid, load, network)
            with closing(Watched(running.process.pid, series)) as watched:
                behind = _run(driver, watched, received, seconds)
            packets = _packets(network) - before
            result = running.stop()
        received.read(ended=True)
    print(result.stderr, end="", file=sys.stderr)
    failed = [behind] if behind else []
    failed += _wrong_counts(driver.sent, packets, received, result)
    failed += _rising(series, seconds)
    for line in failed:
        print(f"FAILED: {line}")
    return int(bool(failed))


@dataclass(frozen=True, slots=True)
class Network:
    """Two hosts, and what is between them where that is not a cable.

    ``ends`` are all devices that send, the left host's first.
    """

    link: netns.Pair
    ends: tuple[netns.Host, ...]
    switch: ovs.Switch | None = None


@contextmanager
def _network() -> Iterator[Network]:
    if capabilities.CAPABILITIES["openvswitch"]() is not None:
        with netns.pair(ipv6=False) as link:
            yield Network(link, (link.left, link.right))
        return
    with ovs.bridge() as bridge:
        ports = [netns.Host(bridge.switch.ns, port, "", "", "") for port in bridge.ports]
        yield Network(netns.Pair(*bridge.hosts), (*bridge.hosts, *ports), bridge.switch)


def _collect(path: Path, network: Network) -> list[str | Path]:
    probes = [f"tp:{probe}" for probe in _TRACEPOINTS]
    if capabilities.CAPABILITIES["kprobes"]() is None:
        probes += _FUNCTIONS
    words = [word for probe in probes for word in ("-p", probe)]
    collectors = "skb,skb-drop,skb-tracking,dev,ns"
    if network.switch is not None:
        collectors += ",ovs"
        words.append("--ovs-track")
    rotated = ["-o", path, "--out-rotate", "4MB", "--buffer-size", "1MB"]
    return ["collect", "-c", collectors, *words, "-f", f"portrange {PORT}-{PORT + 2}", *rotated]


@contextmanager
def _servers(link: netns.Pair) -> Iterator[None]:
    script = str(Path(traffic.__file__))
    right = link.right
    # No filter for ports matches ICMP errors, which would be sent for datagrams to a closed port.
    right.run("nft", "table ip quiet {\nchain out {\ntype filter hook output priority 0;"
                     " ip protocol icmp drop;\n}\n}")  # fmt: skip
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


class Watched:
    """The collection ``pid``, of which is measured what it has."""

    def __init__(self, pid: int, series: Series) -> None:
        self.series = series
        self.spool = WatchedSpool(pid)
        self._pid = pid
        self._tracked = TrackedPackets(pid)

    def look(self, *, at_rest: bool = False) -> None:
        """Measure."""
        add = partial(self.series.add, at_rest=at_rest)
        for each, name in processes(self._pid).items():
            add("resident", name, resident(each))
            add("descriptors", name, descriptors(each))
        spool = self.spool.size()
        add("spool", "not decoded", spool.waiting)
        add("spool", "decoded", spool.decoded)
        add("entries", "tracked packets", self._tracked.count())

    def rest(self) -> bool:
        """Wait until all is decoded and was for a while; return whether it is."""
        end = time.monotonic() + _CATCHES_UP
        since = time.monotonic()
        while time.monotonic() - since < _RESTS:
            if not self.spool.is_decoded():
                since = time.monotonic()
            if since > end:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        """Let go of it."""
        self.spool.close()
        self._tracked.close()


class Driver:
    """Tells the load what to send."""

    def __init__(self, pid: int, load: "subprocess.Popen[str]", network: Network) -> None:
        self.pid = pid
        self.sent = 0  # datagrams
        self._load = load
        self._network = network

    def drive(self, number: int) -> Iterator[None]:
        """Send what a cycle has; it may be measured behind each command."""
        begun = time.monotonic()
        if self._network.switch is not None:  # so that there are packets for the daemon
            self._network.switch.appctl("revalidator/purge")
        for command, at in _LOAD:
            time.sleep(max(0.0, begun + at - time.monotonic()))
            held = command.startswith("burst") and number % _HELD == _HELD - 1
            self._send(command, held=held)
            yield

    def _send(self, command: str, *, held: bool) -> None:
        assert self._load.stdin
        assert self._load.stdout
        if held:
            os.kill(self.pid, signal.SIGSTOP)
        self._load.stdin.write(f"{command}\n")
        self._load.stdin.flush()
        self.sent = int(self._load.stdout.readline())
        if held:
            time.sleep(_HELD_FOR)
            os.kill(self.pid, signal.SIGCONT)


def _run(driver: Driver, watched: Watched, received: Received, seconds: float) -> str | None:
    """Load and measure for so long; return what there is to say where decoding fell behind."""
    begun = time.monotonic()
    late = number = 0
    while number < _FEWEST or time.monotonic() - begun < seconds:
        cycle = time.monotonic()
        for _ in driver.drive(number):
            watched.look()
        if not watched.rest():
            waiting = watched.spool.not_decoded()
            return f"{waiting:,} events are not decoded, {_CATCHES_UP:.0f} s after they came"
        watched.look(at_rest=True)
        received.read()
        number += 1
        left = cycle + CYCLE - time.monotonic()
        late += left < 0
        time.sleep(max(0.0, left))
    watched.series.interval = (time.monotonic() - begun) / number
    print(f"{number} cycles, of which {late} took longer than {CYCLE} s")
    return None


def _packets(network: Network) -> int:
    """Count what all devices have sent, by the kernel's own counters."""
    total = 0
    for end in network.ends:
        folder = f"/sys/class/net/{end.dev}/statistics"
        names = [f"{folder}/tx_packets", f"{folder}/tx_dropped"]
        total += sum(map(int, end.run("cat", *names).stdout.split()))
    return total


def _wrong_counts(sent: int, packets: int, received: Received, result: cli.Result) -> Iterator[str]:
    lost, missed = _lost(result.stderr)
    print(
        f"{sent:,} datagrams sent, {received.numbers:,} received;"
        f" {packets:,} packets sent, {received.packets:,} received, {lost:,} counted as lost;"
        f" {received.events:,} events of all probes in {received.files} files"
    )
    if result.exit_code:
        yield f"retis collect ended with {result.exit_code}"
    if received.twice:
        yield f"{received.twice:,} datagrams came twice"
    # A program that was not run, since it ran already, could not say whether the packet matches.
    if not 0 <= packets - received.packets - lost <= missed:
        yield f"{packets - received.packets - lost:,} packets are neither there nor counted as lost"
    if sent - received.numbers > lost + missed:
        yield f"{sent - received.numbers:,} datagrams are not there, more than were lost"
    if not sent or not received.files:
        yield "nothing was sent"


def _lost(stderr: str) -> tuple[int, int]:
    """Return how many events were counted as lost at PROBE, and how often it was not run."""
    pattern = rf"\[WARN\] ([\d,]+) event\(s\) lost at raw_tracepoint:{PROBE}: (.+)"
    found = [(int(n.replace(",", "")), cause) for n, cause in re.findall(pattern, stderr)]
    missed = sum(count for count, cause in found if cause == "probe hit while it ran")
    # A packet that is not tracked has its event all the same.
    lost = sum(count for count, cause in found if not cause.startswith("tracking map"))
    return lost - missed, missed


def _rising(series: Series, seconds: float) -> Iterator[str]:
    allowed = _ALLOWED_AT_FIRST if seconds < _SHORT else _ALLOWED
    print(f"{'':<12}{'':<17}{'at rest':>14}{'rise':>12}{'%/h':>10}{'at least':>10}{'most':>14}")
    for (what, whom), values in series.values.items():
        try:
            trend: Trend = second_half(values, series.interval)
        except ValueError as error:
            yield f"{what}, {whom}: {error}"
            continue
        print(
            f"{what:<12}{whom:<17}{trend.mean:>14,.0f}{trend.rise:>12,.0f}{trend.slope:>10.2f}"
            f"{trend.slope_at_least:>10.2f}{series.most[what, whom]:>14,.0f}"
        )
        if (what, whom) != _SAW and trend.rises(allowed[what]):
            yield f"{what}, {whom}: rises by {trend.slope:.2f} % an hour"
    at_rest = max(series.values[_SAW], default=0.0)
    if series.most[_SAW] > _DECODED_AT_MOST or at_rest > _DECODED_AT_REST:
        yield f"spool: {series.most[_SAW]:,.0f} bytes ({at_rest:,.0f} at rest) are not given back"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--folder", type=Path, help="where event files go until they are read")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
