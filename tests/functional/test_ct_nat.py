"""Connections through a router that translates addresses, against what ``conntrack -L`` says.

The client talks to an address that the router makes the server's (DNAT), and the server sees the
router's address (masquerade). All three, TCP, UDP and ICMP, are still there when conntrack is
asked, and nothing of them is on its way any more.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from lab import capabilities, cli, conntrack, flows, frames, netns
from lab.collection import (
    Collection,
    Event,
    namespace_number,
    packet_bytes,
    read,
    temporary_path,
)
from lab.conntrack import ASSURED, CONFIRMED, DST_NAT, SEEN_REPLY, SRC_NAT, Flow
from lab.topology import Routed, translating_router

pytestmark = pytest.mark.timeout(400)

PORT = 4010
TRANSMIT = "net:net_dev_start_xmit"
OUTPUT = "ip_output"


@dataclass(frozen=True, slots=True)
class Observed:
    """What happened in the router, and its connections at the end."""

    network: Routed
    events: list[Event]
    flows: list[Flow]
    collection: Collection

    def at(self, symbol: str, protocol: str, device: str | None = None) -> list[Event]:
        return [
            event
            for event in conntrack.of_protocol(self.events, protocol)
            if event["kernel"]["symbol"] == symbol and device in (None, event["dev"]["name"])
        ]


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    capabilities.require("root")
    capabilities.require("btf")
    conntrack.only_where_asked()
    probes = [f"tp:{TRANSMIT}"]
    if capabilities.CAPABILITIES["kprobes"]() is None:
        probes.append(f"kprobe:{OUTPUT}")
    arguments = [word for probe in probes for word in ("-p", probe)]
    with translating_router() as network, temporary_path() as path, ExitStack() as stack:
        conntrack.keep_connections(network.router)
        for command in ("echo", "udp-echo"):
            stack.enter_context(network.server.background(*flows.words(command, PORT)))
            network.server.wait_for_port(PORT, udp=command == "udp-echo")
        running = stack.enter_context(
            cli.background("collect", "-c", "skb,dev,ns,ct", *arguments, "-o", path)
        )
        client, service = network.client, network.service
        client.run(*flows.words("udp-talk", service, PORT, 2))
        client.run("ping", "-n", "-q", "-c2", "-i0.3", "-W20", service)
        stack.enter_context(client.background(*flows.words("talk", service, PORT)))
        netns.wait_until(lambda: is_talking(network), "a TCP connection with data each way")
        found = conntrack.flows(network.router)
        collection = read(path, running.stop())
        router = netns.Host(network.router, network.outside_dev, "", network.outside, "")
        events = list(collection.within(namespace_number(router)).events)
        yield Observed(network, events, found, collection)


def is_talking(network: Routed) -> bool:
    """Whether the client has what it sent back, and has said so."""
    shown = network.client.run("ss", "-Hnti", f"dport = :{PORT}").stdout
    return "bytes_received:9" in shown and "unacked" not in shown


def test_conntrack_lists_all_three(observed: Observed) -> None:
    assert sorted(flow.protocol for flow in observed.flows) == ["icmp", "tcp", "udp"]


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_last_event_says_what_conntrack_says(observed: Observed, protocol: str) -> None:
    [listed] = [flow for flow in observed.flows if flow.protocol == protocol]
    last = observed.at(TRANSMIT, protocol)[-1]
    assert conntrack.flow(last["ct"]) == listed


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_both_translations_are_in_the_tuples(observed: Observed, protocol: str) -> None:
    network = observed.network
    for event in observed.at(TRANSMIT, protocol):
        orig, reply = event["ct"]["orig"]["ip"], event["ct"]["reply"]["ip"]
        assert (orig["src"], orig["dst"]) == (network.client.ip4, network.service)
        assert (reply["src"], reply["dst"]) == (network.server.ip4, network.outside)
        assert orig["version"] == reply["version"] == "v4"
        status = event["ct"]["ct_status"]
        assert status & (SRC_NAT | DST_NAT | CONFIRMED) == SRC_NAT | DST_NAT | CONFIRMED


def test_tcp_states(observed: Observed) -> None:
    """The handshake: SYN, SYN ACK, ACK. Then data."""
    events = observed.at(TRANSMIT, "tcp")
    assert [(e["ct"]["state"], e["ct"]["proto_state"]) for e in events[:3]] == [
        ("new", "SYN_SENT"),
        ("reply", "SYN_RECV"),
        ("established", "ESTABLISHED"),
    ]
    assert {e["ct"]["proto_state"] for e in events[3:]} == {"ESTABLISHED"}
    assert {e["ct"]["state"] for e in events[3:]} == {"established", "reply"}
    statuses = [e["ct"]["ct_status"] & (SEEN_REPLY | ASSURED) for e in events[:3]]
    assert statuses == [0, SEEN_REPLY, SEEN_REPLY | ASSURED]


@pytest.mark.parametrize("protocol", ["udp", "icmp"])
def test_states_without_a_handshake(observed: Observed, protocol: str) -> None:
    events = observed.at(TRANSMIT, protocol)
    assert [e["ct"]["state"] for e in events] == ["new", "reply", "established", "reply"]
    assert not any("proto_state" in e["ct"] for e in events)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_directions(observed: Observed, protocol: str) -> None:
    """What leaves on the outside is of the original direction, what leaves inside a reply."""
    network = observed.network
    for device, states in (
        (network.outside_dev, {"new", "established"}),
        (network.inside_dev, {"reply"}),
    ):
        events = observed.at(TRANSMIT, protocol, device)
        assert {e["ct"]["state"] for e in events} == states
        for event in events:
            # It carries the addresses that the other direction's tuple has, the other way round.
            ct = event["ct"]
            other = ct["reply"] if states != {"reply"} else ct["orig"]
            frame = frames.parse(packet_bytes(event))
            assert (frame.destination, frame.source) == (other["ip"]["src"], other["ip"]["dst"])
            if protocol != "icmp":
                ports = other["proto"][protocol]
                assert frame.ports == (ports["dport"], ports["sport"])


def test_icmp_id_is_the_packets(observed: Observed) -> None:
    for event in observed.at(TRANSMIT, "icmp"):
        payload = frames.parse(packet_bytes(event)).payload
        orig, reply = (event["ct"][key]["proto"]["icmp"] for key in ("orig", "reply"))
        assert (orig["type"], orig["code"]) == (frames.ECHO_REQUEST, 0)
        assert (reply["type"], reply["code"]) == (frames.ECHO_REPLY, 0)
        own = reply if event["ct"]["state"] == "reply" else orig
        assert own["id"] == int.from_bytes(payload[4:6], "big")


def test_nothing_before_conntrack_has_seen_it(observed: Observed) -> None:
    """The client tracks nothing, so its packets have no section."""
    client = namespace_number(observed.network.client)
    events = observed.collection.within(client).events
    assert events
    assert not any("ct" in event for event in events)


def test_a_new_connection_on_its_way(observed: Observed, kprobes: None) -> None:
    """Between the two translations: the server's address is in, the router's is not yet."""
    network = observed.network
    first = observed.at(OUTPUT, "tcp")[0]["ct"]
    assert first["state"] == "new"
    assert first["ct_status"] & (SRC_NAT | DST_NAT | CONFIRMED) == DST_NAT
    reply = first["reply"]["ip"]
    assert (reply["src"], reply["dst"]) == (network.server.ip4, network.client.ip4)
