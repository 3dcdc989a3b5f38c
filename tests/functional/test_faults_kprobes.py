"""A collection with probes on functions and in ovs-vswitchd is killed: the kernel takes them back.

As test_faults.py, for what takes kprobes, nftables' tracing and Open vSwitch.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import capabilities, cli, netns, ovs
from lab.leftovers import Traces
from lab.netns import wait_until
from lab.nftables import tables
from lab.spooled import decoder_of, is_gone

pytestmark = pytest.mark.timeout(900)

KPROBES = Path("/sys/kernel/debug/kprobes/list")
RULES = "table inet f { chain input { type filter hook input priority 0; policy accept; }; }"
TABLE = "Retis_Table"
FUNCTIONS = {"udp_rcv", "__nft_trace_packet"}


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traces:
    made = Traces(tmp_path / "tmp")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def namespace() -> Iterator[str]:
    for name in ("root", "btf", "kprobes", "tracefs"):
        capabilities.require(name)
    with netns.namespace(ipv6=False) as ns:
        netns.run(ns, "modprobe nf_tables", check=False)
        netns.run(ns, ["nft", RULES])
        yield ns


def probed() -> set[str]:
    """The functions that are probed (kernel/kprobes.c, report_probe)."""
    lines = KPROBES.read_text().splitlines()
    return {line.split()[2].partition("+")[0] for line in lines}


def test_killed_with_kprobes_and_a_table(namespace: str, tmp_path: Path, traces: Traces) -> None:
    """The table is the one that switches nftables' tracing on."""
    words = ("collect", "-c", "skb,nft", "--allow-system-changes", "-o", str(tmp_path / "events"))
    words += ("-p", "kprobe:udp_rcv", "-p", "kretprobe:udp_rcv")
    with cli.background(*words, prefix=("ip", "netns", "exec", namespace)) as running:
        traces.note(running.process.pid)
        assert TABLE in tables(namespace)
        assert probed() >= FUNCTIONS
        assert running.stop(signal.SIGKILL).exit_code == -signal.SIGKILL
    traces.assert_none()
    assert not FUNCTIONS & probed()
    wait_until(lambda: tables(namespace) == ["f"], "the kernel to remove the table", 30)


@pytest.mark.parametrize("who", ["collecting", "decoding"])
def test_killed_with_probes_in_ovs(
    bridge: ovs.Bridge, tmp_path: Path, traces: Traces, who: str
) -> None:
    """The decoding process is also the one that asks ovs-vswitchd for flows; that goes on."""
    path = tmp_path / "events"
    arguments = ("--ovs-track", "--ovs-enrich-flows", "-o", path)
    daemon = bridge.switch.pid
    left, right = bridge.hosts[:2]
    with cli.background("collect", "-c", "skb,skb-tracking,ovs", *arguments) as running:
        decoder = decoder_of(running.process)
        traces.note(running.process.pid)
        assert uprobes(running.process.pid)
        bridge.switch.forget_flows()
        left.run("ping", "-c", "2", "-W", "20", right.ip4)
        wait_until(lambda: b'"recv_upcall"' in path.read_bytes(), "events of the daemon's", 60)
        os.kill(running.process.pid if who == "collecting" else decoder, signal.SIGKILL)
        result = running.wait()
        wait_until(lambda: is_gone(decoder), "the decoder's end", 60)
    assert result.exit_code == (1 if who == "decoding" else -signal.SIGKILL)
    (tmp_path / "events.spool").unlink(missing_ok=True)
    traces.assert_none()
    assert bridge.switch.pid == daemon
    bridge.switch.forget_flows()
    left.run("ping", "-c", "2", "-W", "20", right.ip4)  # upcalls, with no breakpoint any more
    assert b"ovs" in path.read_bytes()
    assert cli.retis("sort", path).exit_code == 0


def uprobes(pid: int) -> int:
    """How many perf events a process has: uprobes are attached with them."""
    links = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()]
    return sum("perf_event" in str(link) for link in links)
