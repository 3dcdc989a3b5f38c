"""A TCP connection's packets after ``retis sort``: the state and the direction of each.

Over lo packets keep their connection, so that one probe sees both directions. Through a router they
have one between its hooks only, and a sorted file shows where on their way that is.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from lab import capabilities, cli, conntrack, frames, netns
from lab.collection import (
    TIME_LIMIT,
    Event,
    collect,
    namespace_number,
    packet_bytes,
    sender,
    temporary_path,
)
from lab.topology import Routed, own_address, translating_router
from retis_py.events.jsonl import EventFile

pytestmark = pytest.mark.timeout(600)

PORT = 4031
RECEIVE, TRANSMIT = "net:netif_receive_skb", "net:net_dev_start_xmit"

# The client closes first.
STATES = ["SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT"]

PARTS = [(0, 4), (0, 2), (2, 4)]  # of a way of four steps


@dataclass(frozen=True, slots=True)
class Sorted:
    """A sorted file, and its series but the startup event's."""

    path: Path
    series: list[list[Event]]


@contextmanager
def collected_and_sorted(*arguments: str, cmd: str) -> Iterator[Sorted]:
    """Run ``retis collect ARGUMENTS -o FILE --cmd CMD``, then ``retis sort FILE -o``."""
    with temporary_path() as path:
        collect(*arguments, path=path, cmd=f"{cmd}; sleep 0.5")
        target = path.with_name("sorted")
        result = cli.retis("sort", path, "-o", target, timeout=TIME_LIMIT)
        assert (result.exit_code, result.stderr) == (0, "")
        _, *series = [json.loads(line) for line in target.read_bytes().splitlines()]
        yield Sorted(target, series)


@contextmanager
def sink(host: netns.Host) -> Iterator[None]:
    """A listener for one connection."""
    script = str(Path(netns.__file__).with_name("sender.py"))
    with host.background("/usr/bin/python3", "-IS", script, "sink", str(PORT)):
        host.wait_for_port(PORT)
        yield


@pytest.fixture(scope="module", autouse=True)
def can_collect() -> None:
    capabilities.require("root")
    capabilities.require("btf")


@pytest.fixture(scope="module")
def over_lo() -> Iterator[Sorted]:
    address = own_address()
    with netns.namespace(ipv6=False) as ns:
        host = netns.Host(ns, "lo", "", address, "")
        host.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
        netns.run(ns, f"nft -f - <<'END'\n{conntrack.TRACKING}\nEND")
        with (
            sink(host),
            collected_and_sorted(
                *("-c", "skb,ct", "-p", f"tp:{RECEIVE}", "-f", f"host {address}"),
                cmd=sender(host, "tcp", address, PORT, 3000),
            ) as made,
        ):
            yield made


def test_state_and_direction_over_lo(over_lo: Sorted) -> None:
    """Each packet's direction, told by its ports, is that of its section."""
    events = [event for [event] in over_lo.series]
    assert len(events) > 6
    sections = []
    for event in events:
        source, destination = frames.parse(packet_bytes(event)).ports
        ct = event["ct"]
        orig, reply = (ct[key]["proto"]["tcp"] for key in ("orig", "reply"))
        if destination == PORT:
            assert ct["state"] in {"new", "established"}
            assert (orig["sport"], orig["dport"]) == (source, destination)
        else:
            assert ct["state"] == "reply"
            assert (reply["sport"], reply["dport"]) == (source, destination)
        sections.append((ct["state"], ct["proto_state"]))
    assert sections[:3] == [
        ("new", "SYN_SENT"),
        ("reply", "SYN_RECV"),
        ("established", "ESTABLISHED"),
    ]
    assert [state for state, _ in sections].count("new") == 1
    assert {"established", "reply"} == {state for state, _ in sections[3:]}


def test_protocol_states_come_in_their_order(over_lo: Sorted) -> None:
    states = [state for state, _ in groupby(e["ct"]["proto_state"] for [e] in over_lo.series)]
    assert states == [state for state in STATES if state in states]
    assert {"FIN_WAIT", "LAST_ACK"} & set(states)


@dataclass(frozen=True, slots=True)
class Through:
    """What came of a connection through a router, and that router's namespace."""

    made: Sorted
    network: Routed
    router: int


@pytest.fixture(scope="module")
def through_router() -> Iterator[Through]:
    conntrack.only_where_asked()
    with translating_router() as network:
        router = netns.Host(network.router, network.outside_dev, "", network.outside, "")
        with (
            sink(network.server),
            collected_and_sorted(
                *("-c", "skb,skb-tracking,dev,ns,ct", "-f", f"tcp port {PORT}"),
                *("-p", f"tp:{RECEIVE}", "-p", f"tp:{TRANSMIT}"),
                cmd=sender(network.client, "tcp", network.service, PORT, 100),
            ) as made,
        ):
            yield Through(made, network, namespace_number(router))


def test_a_packets_way_through_the_router(through_router: Through) -> None:
    """Sent, received and sent on by the router, received: with a connection at one of these.

    Without kprobes a packet whose head is copied for the translation is followed up to there.
    """
    network, router = through_router.network, through_router.router
    client, server = (namespace_number(host) for host in (network.client, network.server))
    inside = [(router, RECEIVE), (router, TRANSMIT)]
    there = [(client, TRANSMIT), *inside, (server, RECEIVE)]
    back = [(server, TRANSMIT), *inside, (client, RECEIVE)]
    whole = capabilities.CAPABILITIES["kprobes"]() is None
    parts = [there, back] if whole else [w[i:j] for w in (there, back) for i, j in PARTS]
    states = []
    for series in through_router.made.series:
        way = [(event["netns"]["inum"], event["kernel"]["symbol"]) for event in series]
        assert way in parts
        for event, step in zip(series, way, strict=True):
            assert ("ct" in event) is (step == (router, TRANSMIT))
            if "ct" in event:
                to_server = event["dev"]["name"] == network.outside_dev
                assert way[-1] == (there if to_server else back)[-1]
                assert (event["ct"]["state"] == "reply") is not to_server
                assert event["ct"]["orig"]["ip"]["dst"] == network.service
                states.append(event["ct"]["state"])
    assert states[:3] == ["new", "reply", "established"]
    assert len(states) > 5


@pytest.mark.parametrize("fixture", ["over_lo", "through_router"])
def test_reference_reads_the_same_series(fixture: str, request: pytest.FixtureRequest) -> None:
    retis = pytest.importorskip("retis")
    made = request.getfixturevalue(fixture)
    path = made.path if isinstance(made, Sorted) else made.made.path
    theirs = [[str(event) for event in series] for series in retis.SeriesReader(str(path))]
    with EventFile(path) as file:
        ours = [[str(event) for event in series] for series in file.series()]
    assert ours == theirs
    assert "ct_state REPLY" in str(ours)
