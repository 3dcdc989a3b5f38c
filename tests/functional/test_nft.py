"""Steps of nftables' evaluations, against what ``nft monitor trace`` tells of the same packets.

One collection with all verdicts, in a namespace with a ruleset that has every kind of verdict, and
one chain of ten thousand rules.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from lab import capabilities, cli, frames, netns, nftables, unprivileged
from lab.collection import Collection, Event, packet_bytes, read, temporary_path
from lab.nftables import TIME_LIMIT, Step
from retis_py.events.jsonl import EventFile
from retis_py.events.nft_rules import nft_rule_line

pytestmark = pytest.mark.timeout(900)

MANY = 10_000
LONG = 3_000  # rules that follow one in a chain that is jumped to

DROPPED, RETURNED, COUNTED, GONE, LAST, REFUSED, FAR = PORTS = (7, 8, 9, 11, 12, 13, 14)

# What is not asked for here is refused by the policy of 'out', ICMP errors among it.
RULES = f"""
table inet tracing {{
    chain in {{ type filter hook prerouting priority -350; meta nftrace set 1; }}
    chain out {{ type filter hook output priority -350; meta nftrace set 1; }}
}}
table inet f {{
    chain sub {{
        udp dport {DROPPED} drop
        udp dport {RETURNED} return
        udp dport {COUNTED} counter
    }}
    chain gone {{ accept; }}
    chain long {{
        udp dport {FAR} drop
        {"udp dport 65000 accept; " * LONG}
    }}
    chain input {{
        type filter hook input priority 0; policy accept;
        udp dport {{ {DROPPED}, {RETURNED}, {COUNTED} }} jump sub
        udp dport {GONE} goto gone
        udp dport {FAR} jump long
    }}
    chain out {{
        type filter hook output priority 0; policy drop;
        udp dport {{ {", ".join(str(p) for p in PORTS if p != REFUSED)} }} accept
    }}
}}
table ip many {{
    chain input {{
        type filter hook input priority 10; policy accept;
        {"udp dport 65001 drop; " * (MANY - 1)}
        udp dport {LAST} drop
    }}
}}
"""

# Bash says which of them was refused, and goes on.
SEND = f"for port in {' '.join(map(str, PORTS))}; do echo nft > /dev/udp/127.0.0.1/$port; done"


@dataclass(frozen=True, slots=True)
class Traced:
    """A collection, what nft told of it, and the handles of tables and chains."""

    collection: Collection
    trace: str
    handles: dict[tuple[str, ...], int]


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    for name in ("root", "btf", "kprobes"):
        capabilities.require(name)
    with netns.namespace(ipv6=False) as ns:
        netns.run(ns, "modprobe nf_tables", check=False)
        with temporary_path() as path:
            path.write_text(RULES)
            netns.run(ns, ["nft", "-f", str(path)], timeout=TIME_LIMIT)
        yield ns


@pytest.fixture(scope="module")
def traced(namespace: str) -> Iterator[Traced]:
    handles = nftables.handles(namespace)
    with temporary_path() as path, nftables.monitor(namespace) as trace:
        arguments = ["collect", "-c", "nft,skb,ns", "--nft-verdicts", "all", "-o", str(path)]
        send = f"bash -c {shlex.quote(SEND)}; sleep 0.5"
        command = [sys.executable, "-m", "retis_py", *arguments, "--cmd", send]
        command = [*unprivileged.prefix_if_wanted(path), *command]
        ran = netns.run(namespace, command, timeout=TIME_LIMIT)
        result = cli.Result(ran.returncode, ran.stdout, ran.stderr)
        made = read(path, result)
        # nft fetches the rules for each step, and lags behind where there are many.
        wanted = len(told(made.events))
        netns.wait_until(
            lambda: len(told_by_nft(trace.read_text())) >= wanted, "nft monitor", TIME_LIMIT
        )
        yield Traced(made, trace.read_text(), handles)


def step(event: Event) -> Step:
    nft = event["nft"]
    return Step(
        nft["table_name"],
        nft["chain_name"],
        nft.get("rule_handle"),
        nft["verdict"],
        nft.get("verdict_chain_name"),
    )


def told(events: Sequence[Event]) -> list[Step]:
    """The steps that nft tells of too: newer kernels have it silent at a chain's end."""
    return [
        step(event) for event in events if "rule_handle" in event["nft"] or event["nft"]["policy"]
    ]


def told_by_nft(trace: str) -> list[Step]:
    """What nft tells, without the chains' ends that older kernels have it tell of."""
    return [s for s in nftables.steps(trace) if s.verdict != "continue" or s.handle is not None]


def to_port(traced: Traced, port: int) -> list[Event]:
    return [
        event
        for event in traced.collection.events
        if (frame := frames.parse(packet_bytes(event))).protocol == frames.UDP
        and frame.ports[1] == port
    ]


def test_all_steps_in_order(traced: Traced) -> None:
    expected = told_by_nft(traced.trace)
    ours = told(traced.collection.events)
    assert len(ours) == len(expected)
    for ours_, theirs in zip(ours, expected, strict=True):
        if theirs.verdict == "return" and theirs.handle is None:
            assert ours_.handle is not None
            assert replace(ours_, handle=None) == theirs
        else:
            assert ours_ == theirs
    verdicts = {s.verdict for s in expected}
    assert verdicts == {"accept", "drop", "jump", "goto", "return", "continue"}
    assert any(s.handle is None for s in expected)


def test_handles_of_tables_and_chains(traced: Traced) -> None:
    for event in traced.collection.events:
        nft = event["nft"]
        assert nft["table_handle"] == traced.handles[nft["table_name"],]
        assert nft["chain_handle"] == traced.handles[nft["table_name"], nft["chain_name"]]


@pytest.mark.parametrize(
    ("port", "chain", "verdict"),
    [
        (DROPPED, "sub", "drop"),
        (RETURNED, "sub", "return"),
        (GONE, "input", "goto"),
        (FAR, "long", "drop"),
        (LAST, "input", "drop"),
    ],
)
def test_a_packet_of_each_kind(traced: Traced, port: int, chain: str, verdict: str) -> None:
    """The chain is right where thousands of rules follow, or come before."""
    found = [step(event) for event in to_port(traced, port)]
    assert (chain, verdict) in [(s.chain, s.verdict) for s in found if s.handle]


def test_policy(traced: Traced) -> None:
    *_, last = to_port(traced, REFUSED)
    assert last["nft"]["policy"] is True
    assert step(last) == Step("f", "out", None, "drop")


def test_rules_as_text(traced: Traced) -> None:
    """The text found for an event is the one that nft shows for it."""
    with EventFile(traced.collection.path) as file:
        startup, *events = file.events()
    texts = nftables.rule_texts(traced.trace)
    shown = 0
    for event in events:
        line, nft = nft_rule_line(startup.startup.nft_rules, event), event.nft
        assert nft is not None
        if nft.verdict == "return":
            assert line == f"rule: udp dport {RETURNED} return"  # not told by Linux 6.1's
        elif nft.rule_handle is not None:
            expected = texts[nft.table_name, nft.chain_name, nft.rule_handle]
            assert line == f"rule: {expected.replace(' packets 0 bytes 0', '')}"
            shown += 1
        elif nft.policy:
            assert line is not None
            assert line.endswith(f"policy {nft.verdict};")
        else:
            assert line is None
    assert shown > 10


def test_whole_ruleset_is_stored(traced: Traced) -> None:
    rules = traced.collection.startup["startup"]["nft_rules"]
    [many] = [table for table in rules["tables"] if table["name"] == "many"]
    assert len(many["chains"]["input"]) == MANY + 1  # and the policy
    assert "cut" not in rules


def test_reference_reads_the_same(traced: Traced) -> None:
    retis = pytest.importorskip("retis")
    theirs = list(retis.EventFile(str(traced.collection.path)).events())
    with EventFile(traced.collection.path) as file:
        ours = list(file.events())
    assert [str(event) for event in ours] == [str(event) for event in theirs]
    assert [e.to_dict() for e in ours[1:]] == [e.to_dict() for e in theirs[1:]]


def test_hint(traced: Traced) -> None:
    assert "use --allow-system-changes, or run nft 'table inet Retis_Table" in (
        traced.collection.result.stderr
    )
