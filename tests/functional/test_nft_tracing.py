"""Switching tracing on with ``--allow-system-changes``, and off again however a run ends."""

import signal
import sys
from collections.abc import Iterator

import pytest

from lab import capabilities, cli, modules, netns
from lab.collection import read, temporary_path
from lab.netns import wait_until
from lab.nftables import TIME_LIMIT, collecting, tables

pytestmark = pytest.mark.timeout(900)

TABLE = "Retis_Table"
COLLECT = ("collect", "-c", "nft", "--allow-system-changes")
RETIS = (sys.executable, "-m", "retis_py")

RULES = """
table inet f {
    chain input {
        type filter hook input priority 0; policy accept;
        udp dport 7 drop
        udp dport 8 accept
        udp dport 9 drop
    }
}
"""

SEND = (
    "/usr/bin/python3 -IS -c 'from socket import *; s = socket(AF_INET, SOCK_DGRAM); "
    '[s.sendto(b"nft", ("127.0.0.1", port)) for port in (7, 8, 9)]\''
)

# What a run leaves on a kernel where tables have no owner; there is no such process.
LEFT = f"""
table inet {TABLE} {{
    comment "retis-py 4194305 1"
    chain Retis_Chain {{ meta nftrace set 1; }}
}}
"""


@pytest.fixture
def namespace() -> Iterator[str]:
    for name in ("root", "btf", "kprobes"):
        capabilities.require(name)
    with netns.namespace(ipv6=False) as ns:
        netns.run(ns, "modprobe nf_tables", check=False)
        netns.run(ns, ["nft", RULES])
        yield ns


def test_two_at_once_and_one_killed(namespace: str) -> None:
    with collecting(namespace, *COLLECT) as first:
        assert TABLE in tables(namespace)
        with collecting(namespace, *COLLECT) as second:
            assert f"{TABLE}_{second.process.pid}" in tables(namespace)
            second.process.send_signal(signal.SIGINT)
            assert second.wait() == 0
            told = second.stderr.read_text()
        assert f"tracing is in use: the table inet {TABLE} is that of process" in told
        assert str(first.process.pid) in told
        assert tables(namespace) == ["f", TABLE]
        first.process.kill()
        first.wait()
        wait_until(lambda: tables(namespace) == ["f"], "the kernel to remove the table", 30.0)


def test_what_was_left_is_removed_and_drops_are_shown(namespace: str) -> None:
    """The run is that of the profile nft-dropmon, with a filter."""
    netns.run(namespace, ["nft", LEFT])
    with temporary_path() as path:
        ran = netns.run(
            namespace,
            [
                *(*RETIS, "-p", "nft-dropmon", "collect", "--allow-system-changes"),
                *("-f", "udp port 7", "-o", str(path), "--cmd", SEND),
            ],
            timeout=TIME_LIMIT,
        )
        made = read(path, cli.Result(ran.returncode, ran.stdout, ran.stderr))
    assert f"removed the table inet {TABLE}, which an interrupted run left" in ran.stderr
    assert tables(namespace) == ["f"]
    [event] = made.events
    assert event["nft"]["verdict"] == "drop"
    assert event["nft"]["table_name"] == "f"
    assert event["packet"]["len"] == 14 + 20 + 8 + 3
    assert event["dev"]["name"] == "lo"
    assert any(f.startswith("nft_do_chain+") for f in event["kernel"]["stack_trace"])
    rules = made.startup["startup"]["nft_rules"]["tables"][0]["chains"]["input"]
    assert rules[str(event["nft"]["rule_handle"])] == "udp dport 7 drop"


def test_sort_shows_the_rules_own_text(namespace: str) -> None:
    """What each verdict is due to: rules, and the policy for an ICMP error.

    The reference reads past the rules.
    """
    retis = pytest.importorskip("retis")
    with temporary_path() as path:
        collect = ("collect", "-c", "skb,nft", "--allow-system-changes", "-o", str(path))
        ran = netns.run(namespace, [*RETIS, *collect, "--cmd", SEND], timeout=TIME_LIMIT)
        made = read(path, cli.Result(ran.returncode, ran.stdout, ran.stderr))
        own = [event["nft"] for event in made.events if event["nft"]["table_name"] == "f"]
        text = cli.retis("sort", "--nft-rules", path, timeout=TIME_LIMIT)
        single = cli.retis("sort", "--nft-rules", "--format", "single-line", path)
        plain = cli.retis("sort", path, "-o", target := path.with_name("sorted"), "--print")
        reader = retis.SeriesReader(str(target))
        theirs = "".join("\n".join(str(e) for e in series) + "\n\n" for series in reader)
    rules = [
        "udp dport 7 drop",
        "udp dport 8 accept",
        "type filter hook input priority filter; policy accept;",
        "udp dport 9 drop",
    ]
    for nft, rule in zip(own, rules, strict=True):
        place = f"table f ({nft['table_handle']}) chain input ({nft['chain_handle']})"
        what = "accept (policy)" if nft["policy"] else f"handle {nft['rule_handle']} {rule[12:]}"
        assert f"\n  {place} {what}\n    rule: {rule}\n" in text.stdout
        assert f" {place} {what} rule: {rule}\n" in single.stdout
    assert (text.exit_code, text.stderr) == (0, "")
    lines = text.stdout.splitlines()
    assert plain.stdout.splitlines() == [line for line in lines if "    rule: " not in line]
    assert plain.stdout == theirs


def test_without_the_right_to_change_the_system(namespace: str) -> None:
    """All privileges but CAP_NET_ADMIN; what was in the file before stays."""
    before = tables(namespace)
    without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    with temporary_path() as path:
        path.write_text("of yesterday")
        command = [*without, *RETIS, *COLLECT, "-o", str(path), "--cmd", "true"]
        ran = netns.run(namespace, command, check=False, timeout=TIME_LIMIT)
        assert path.read_text() == "of yesterday"
    warning, line = [line for line in ran.stderr.splitlines() if "[INFO]" not in line]
    assert "the rules of nftables are not stored in the file: nft failed" in warning
    assert line == (
        f"Error: the table inet {TABLE}, which switches nftables' tracing on, cannot be added:"
        " CAP_NET_ADMIN is needed; run as root, or leave --allow-system-changes out"
    )
    assert ran.returncode == 1
    assert tables(namespace) == before


def test_without_the_module(root: None) -> None:
    """One line that says what to do; without kprobes, that they are missing."""
    if capabilities.CAPABILITIES["kprobes"]() is not None:
        expected = "it needs to probe the function __nft_trace_packet, but"
    else:
        expected = "the module nf_tables is not loaded"
        if not modules.unload("nf_tables"):
            pytest.skip("nf_tables cannot be unloaded")
    result = cli.retis("collect", "-c", "nft", "--cmd", "true", timeout=TIME_LIMIT)
    assert result.exit_code == 1
    [line] = [line for line in result.stderr.splitlines() if "INFO" not in line]
    assert line.startswith("Error: collector nft: ")
    assert expected in line
