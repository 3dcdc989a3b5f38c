"""What does not fit is counted, to the last event, and nothing outlives the collector.

The tracepoint is one that only a full socket hits (udp:udp_fail_queue_rcv_skb), and the kernel
counts the same in the namespace's own statistics (RcvbufErrors): so the numbers must be equal
whatever else goes on on the machine.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import capabilities, cli, netns
from lab.collection import Collection, namespace_number, read, sender
from lab.emulation import fast_machine_only
from lab.netns import wait_until

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("root", "btf")]

PROBE = ("-c", "ns", "-p", "tp:udp:udp_fail_queue_rcv_skb")
PROBE_NAME = "raw_tracepoint:udp:udp_fail_queue_rcv_skb"
PORT = 4001
BURST = 1000
BUFFERS = pytest.mark.parametrize("buffer", [(), ("--perf-buffer",)], ids=["ring", "perf"])


@pytest.fixture(scope="module")
def full_socket() -> Iterator[netns.Pair]:
    """A pair whose right host has a socket that nobody reads and that is full already."""
    capabilities.require("root")
    script = (
        "import socket, signal; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f" s.setsockopt({socket.SOL_SOCKET}, {socket.SO_RCVBUF}, 1); s.bind(('', {PORT}));"
        " signal.pause()"
    )
    with (
        netns.pair(ipv6=False) as pair,
        pair.right.background("/usr/bin/python3", "-IS", "-c", script),
    ):
        pair.right.wait_for_port(PORT, udp=True)
        send(pair, 50)
        assert dropped_datagrams(pair) > 0
        yield pair


def send(pair: netns.Pair, count: int) -> None:
    subprocess.run(
        shlex.split(sender(pair.left, "udp-many", pair.right.ip4, PORT, 100, count)), check=True
    )


def dropped_datagrams(pair: netns.Pair) -> int:
    """The kernel's own count of datagrams that found the socket full."""
    lines = pair.right.run("cat", "/proc/net/snmp").stdout.splitlines()
    names, values = [line.split() for line in lines if line.startswith("Udp: ")]
    return int(values[names.index("RcvbufErrors")])


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A process that does not run, and so drains nothing."""
    process.send_signal(signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "SIGSTOP")
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def burst(pair: netns.Pair, path: Path, *options: str, hold: bool) -> tuple[Collection, int]:
    """Collect a burst; return what was collected here and how many datagrams were dropped."""
    before = dropped_datagrams(pair)
    with cli.background("collect", *PROBE, *options, "-o", path) as running:
        if hold:
            with stopped(running.process):
                send(pair, BURST)
        else:
            send(pair, BURST)
        result = running.stop()
    assert result.exit_code == 0, result.stderr
    made = read(path, result).within(namespace_number(pair.right))
    return made, dropped_datagrams(pair) - before


def losses(stderr: str) -> dict[tuple[str, str], int]:
    """Number of lost events by probe and cause, as said at the end."""
    found = re.findall(r"\[WARN\] ([\d,]+) event\(s\) lost at (\S+): (.+)", stderr)
    return {(probe, cause): int(n.replace(",", "")) for n, probe, cause in found}


@BUFFERS
def test_losses_are_counted(
    full_socket: netns.Pair, tmp_path: Path, buffer: tuple[str, ...]
) -> None:
    made, dropped = burst(
        full_socket, tmp_path / "events", "--buffer-size", "4096", *buffer, hold=True
    )
    lost = losses(made.result.stderr)
    assert dropped == BURST
    assert set(lost) == {(PROBE_NAME, "ring full")}
    assert 0 < len(made.events) < BURST
    assert len(made.events) + lost[PROBE_NAME, "ring full"] == dropped
    assert "none lost" not in made.result.stderr


@fast_machine_only
@BUFFERS
def test_nothing_is_lost_with_room(
    full_socket: netns.Pair, tmp_path: Path, buffer: tuple[str, ...]
) -> None:
    """The whole burst fits, though nobody drains meanwhile; in order, each once."""
    made, dropped = burst(full_socket, tmp_path / "events", *buffer, hold=True)
    assert len(made.events) == dropped == BURST
    assert losses(made.result.stderr) == {}
    assert ", none lost" in made.result.stderr
    times = [e["common"]["timestamp"] for e in made.events]
    assert times == sorted(set(times))


@fast_machine_only
def test_buffers_bring_the_same(full_socket: netns.Pair, tmp_path: Path) -> None:
    """Ring and perf buffers yield equal events, but for time, CPU and the senders' numbers."""
    shapes = []
    for number, options in enumerate(((), ("--perf-buffer",))):
        made, _ = burst(full_socket, tmp_path / str(number), *options, hold=False)
        shapes.append([without_circumstances(event) for event in made.events])
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == BURST


def without_circumstances(event: dict[str, dict[str, object]]) -> dict[str, object]:
    return {name: value for name, value in event.items() if name != "common"} | {
        "comm": event["common"]["task"]["comm"]
    }


# After the end


def bpf_objects(pid: int) -> set[tuple[str, int]]:
    """Programs and maps that a process holds by their descriptors: ("prog", 17)."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        for kind, number in re.findall(r"^(prog|map)_id:\s+(\d+)$", path.read_text(), re.M):
            found.add((kind, int(number)))
    return found


def is_in_the_kernel(kind: str, number: int) -> bool:
    shown = subprocess.run(
        ["bpftool", kind, "show", "id", str(number)], capture_output=True, check=False
    )
    return shown.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@fast_machine_only
def test_nothing_is_left_in_the_kernel(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ["collect", *PROBE, "-p", "tp:skb:kfree_skb", "-c", "skb", "-c", "skb-tracking"]
    with cli.background(*arguments, "-o", tmp_path / "events") as running:
        objects = bpf_objects(running.process.pid)
        assert {kind for kind, _ in objects} == {"prog", "map"}
        assert all(is_in_the_kernel(*each) for each in objects)
        running.stop(number)
    wait_until(
        lambda: not any(is_in_the_kernel(*each) for each in objects),
        "the kernel to let go of programs and maps",
    )


@fast_machine_only
def test_compiler_ends_with_the_collector(tmp_path: Path) -> None:
    """Killed while the child compiles: the child does not stay."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "retis_py",
            "collect",
            "--no-cache",
            *PROBE,
            "-o",
            str(tmp_path / "events"),
        ],
        stderr=subprocess.DEVNULL,
    )
    children: set[int] = set()

    def has_child() -> bool:
        tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        children.update(map(int, tasks.read_text().split()))
        return bool(children)

    wait_until(has_child, "the compiler")
    process.kill()
    process.wait()
    wait_until(lambda: not any(is_running(pid) for pid in children), "the compiler's end")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
