"""A filter that matches a packet once, on its way through a router that translates addresses.

The filter names the address that the client talks to. On the router the echo loses that address
(DNAT) and the client's own (masquerade); the reply gets it there. A ping beside it that goes the
same way to the server's own address is none of the filter's business.
"""

from collections.abc import Iterator

import pytest

from lab import capabilities, frames
from lab.collection import (
    Collection,
    Event,
    collect,
    namespace_number,
    packet_bytes,
    temporary_path,
)
from lab.ids import Id, addresses, by_id
from lab.topology import Routed, translating_router

pytestmark = pytest.mark.timeout(400)

COUNT = 3
TRANSMIT, RECEIVE = "net:net_dev_start_xmit", "net:netif_receive_skb"
FUNCTIONS = ("ip_rcv", "nf_hook_slow")


@pytest.fixture(scope="module")
def network() -> Iterator[Routed]:
    capabilities.require("root")
    capabilities.require("btf")
    with translating_router() as made:
        yield made


@pytest.fixture(scope="module")
def traced(network: Routed) -> Iterator[Collection]:
    probes = [f"tp:{TRANSMIT}", f"tp:{RECEIVE}"]
    if capabilities.CAPABILITIES["kprobes"]() is None:
        probes += [f"kprobe:{name}" for name in FUNCTIONS]
    arguments = ["-f", f"icmp and host {network.service}"]
    arguments += [word for probe in probes for word in ("-p", probe)]
    ping = f"{network.client.prefix} ping -n -q -i 0.3 -W20 -c{COUNT}"
    command = f"{ping} {network.server.ip4} & {ping} {network.service} && wait $!"
    with temporary_path() as path:
        made = collect("-c", "skb-tracking,skb,dev,ns", *arguments, path=path, cmd=command)
        assert "Command ended with exit code 0" in made.result.stderr
        assert "L2+L3 packet filter(s) loaded" in made.result.stderr
        yield made


@pytest.fixture(scope="module")
def series(traced: Collection) -> dict[Id, list[Event]]:
    return by_id(traced.events)


def icmp(event: Event) -> tuple[int, int]:
    """ICMP type and sequence number."""
    payload = frames.parse(packet_bytes(event)).payload
    return payload[0], int.from_bytes(payload[6:8], "big")


def at_devices(events: list[Event]) -> list[tuple[str, str]]:
    return [
        (event["kernel"]["symbol"], event["dev"]["name"])
        for event in events
        if event["kernel"]["probe_type"] == "raw_tracepoint"
    ]


def test_each_packet_has_one_id(series: dict[Id, list[Event]]) -> None:
    """As many ids as packets: an echo and its reply have two."""
    packets = [{icmp(event) for event in events} for events in series.values()]
    assert all(len(each) == 1 for each in packets), packets
    expected = {(kind, n) for kind in (frames.ECHO_REQUEST, frames.ECHO_REPLY) for n in (1, 2, 3)}
    assert sorted(each.pop() for each in packets) == sorted(expected)


def test_echo_is_followed_through_both_translations(
    series: dict[Id, list[Event]], network: Routed
) -> None:
    before = (network.client.ip4, network.service)
    after = (network.outside, network.server.ip4)
    echoes = [events for events in series.values() if icmp(events[0])[0] == frames.ECHO_REQUEST]
    assert len(echoes) == COUNT
    for events in echoes:
        assert at_devices(events) == [
            (TRANSMIT, network.client.dev),
            (RECEIVE, network.inside_dev),
            (TRANSMIT, network.outside_dev),
            (RECEIVE, network.server.dev),
        ]
        tracepoints = [e for e in events if e["kernel"]["probe_type"] == "raw_tracepoint"]
        assert [addresses(event) for event in tracepoints] == [before, before, after, after]


def test_reply_is_seen_from_its_match_on(series: dict[Id, list[Event]], network: Routed) -> None:
    """What leads to it, on the server and into the router, has other addresses and no id yet."""
    replies = [events for events in series.values() if icmp(events[0])[0] == frames.ECHO_REPLY]
    assert len(replies) == COUNT
    for events in replies:
        assert at_devices(events) == [
            (TRANSMIT, network.inside_dev),
            (RECEIVE, network.client.dev),
        ]
        assert {addresses(event) for event in events} == {(network.service, network.client.ip4)}


def test_other_packets_are_not_reported(traced: Collection, network: Routed) -> None:
    """Each packet begins with a match; those of the other ping never have one."""
    for events in by_id(traced.events).values():
        assert network.service in addresses(events[0])
    identifiers = {frames.parse(packet_bytes(event)).payload[4:6] for event in traced.events}
    assert len(identifiers) == 1
    lab = {namespace_number(host) for host in (network.client, network.server)}
    outside_of_router = [e for e in traced.events if e["netns"]["inum"] in lab]
    assert 0 < len(outside_of_router) < len(traced.events)


def test_functions_see_it_before_and_after(
    series: dict[Id, list[Event]], network: Routed, kprobes: None
) -> None:
    before = (network.client.ip4, network.service)
    between = (network.client.ip4, network.server.ip4)
    after = (network.outside, network.server.ip4)
    for events in series.values():
        if icmp(events[0])[0] != frames.ECHO_REQUEST:
            continue
        received = [addresses(e) for e in events if e["kernel"]["symbol"] == "ip_rcv"]
        assert received == [before, after]
        hooked = [addresses(e) for e in events if e["kernel"]["symbol"] == "nf_hook_slow"]
        # PREROUTING has it as it came, POSTROUTING with the first translation done.
        assert hooked[0] == before
        assert between in hooked
