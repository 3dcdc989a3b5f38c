"""Through a VXLAN: the packet with and without the outer headers is one packet.

A packet that is forwarded into the tunnel has no room for them and is given a new head, which
only functions show; one that is sent from the tunnel's own end was made with room for them.
"""

from collections.abc import Iterator

import pytest

from lab import capabilities, frames
from lab.collection import (
    Collection,
    Event,
    collect,
    kernel_symbols,
    namespace_number,
    packet_bytes,
    temporary_path,
)
from lab.ids import by_id
from lab.topology import Tunnel, vxlan_tunnel

pytestmark = pytest.mark.timeout(400)

TRANSMIT, RECEIVE, EXPAND = "net:net_dev_start_xmit", "net:netif_receive_skb", "pskb_expand_head"
OUTER_HEADERS = 14 + 20 + 8 + 8  # Ethernet, IPv4, UDP, VXLAN


@pytest.fixture(scope="module")
def network() -> Iterator[Tunnel]:
    capabilities.require("root")
    capabilities.require("btf")
    with vxlan_tunnel() as made:
        yield made


def ping(network: Tunnel, sender: str, address: str, *probes: str) -> Iterator[Collection]:
    """One ping to the far end of the tunnel, seen from ``address``, the sender's."""
    far = network.inner[1]
    arguments = [
        word for probe in (f"tp:{TRANSMIT}", f"tp:{RECEIVE}", *probes) for word in ("-p", probe)
    ]
    command = f"ip netns exec {sender} ping -n -q -W20 -c1 {far}"
    with temporary_path() as path:
        made = collect(
            *("-c", "skb-tracking,skb,dev,ns", "-f", f"icmp and host {address} and host {far}"),
            *arguments,
            path=path,
            cmd=command,
        )
        assert "Command ended with exit code 0" in made.result.stderr
        hosts = (network.client, network.left, network.right)
        yield made.within(*(namespace_number(host) for host in hosts))


@pytest.fixture(scope="module")
def from_the_end(network: Tunnel) -> Iterator[Collection]:
    yield from ping(network, network.left.ns, network.inner[0])


@pytest.fixture(scope="module")
def forwarded(network: Tunnel) -> Iterator[Collection]:
    capabilities.require("kprobes")
    probes = ("kprobe:ip_rcv", f"kprobe:{EXPAND}")
    yield from ping(network, network.client.ns, network.client.ip4, *probes)


def inner(event: Event, network: Tunnel) -> bytes:
    """The packet in the tunnel, as IPv4, wherever it is seen."""
    data = packet_bytes(event)
    frame = frames.parse(data)
    if frame.protocol == frames.UDP and frame.ports[1] == network.port:
        return data[OUTER_HEADERS + frames.ETH_HEADER :]
    return data[frames.ETH_HEADER :]


def places(events: list[Event]) -> list[tuple[str, str, int]]:
    """Where, and as what protocol, the packet passed the tracepoints."""
    return [
        (e["kernel"]["symbol"], e["dev"]["name"], frames.parse(packet_bytes(e)).protocol)
        for e in events
        if e["kernel"]["probe_type"] == "raw_tracepoint"
    ]


def assert_is_one_echo(events: list[Event], network: Tunnel, kind: int) -> None:
    """What passes is one ICMP packet, inside the tunnel and out of it."""
    packets = [inner(event, network) for event in events if "packet" in event]
    assert {packet[20] for packet in packets} == {kind}
    # Beyond the IPv4 header, whose TTL a router changes.
    assert len({packet[20:] for packet in packets}) == 1
    assert {packet[4:6] for packet in packets} == {packets[0][4:6]}


def test_both_directions_from_the_end(from_the_end: Collection, network: Tunnel) -> None:
    """Inner and outer packet have one id, the reply's have another."""
    echo, reply = by_id(from_the_end.events).values()
    assert_is_one_echo(echo, network, frames.ECHO_REQUEST)
    assert_is_one_echo(reply, network, frames.ECHO_REPLY)
    way = [
        (TRANSMIT, network.vxlan_dev, frames.ICMP),
        (TRANSMIT, network.left.dev, frames.UDP),
        (RECEIVE, network.right.dev, frames.UDP),
        (RECEIVE, network.vxlan_dev, frames.ICMP),
    ]
    assert places(echo) == way
    assert places(reply) == way


def test_outer_packet_is_longer(from_the_end: Collection) -> None:
    for events in by_id(from_the_end.events).values():
        lengths = [event["packet"]["len"] for event in events]
        assert lengths == [98, 98 + OUTER_HEADERS, 98 + OUTER_HEADERS, 98]


def test_forwarded_packet_keeps_its_id(forwarded: Collection, network: Tunnel) -> None:
    echo, reply = by_id(forwarded.events).values()
    assert_is_one_echo(echo, network, frames.ECHO_REQUEST)
    assert_is_one_echo(reply, network, frames.ECHO_REPLY)
    assert places(echo) == [
        (TRANSMIT, network.client.dev, frames.ICMP),
        (RECEIVE, "inside", frames.ICMP),
        (TRANSMIT, network.vxlan_dev, frames.ICMP),
        (TRANSMIT, network.left.dev, frames.UDP),
        (RECEIVE, network.right.dev, frames.UDP),
        (RECEIVE, network.vxlan_dev, frames.ICMP),
    ]
    assert places(reply) == [
        (TRANSMIT, network.vxlan_dev, frames.ICMP),
        (TRANSMIT, network.right.dev, frames.UDP),
        (RECEIVE, network.left.dev, frames.UDP),
        (RECEIVE, network.vxlan_dev, frames.ICMP),
        (TRANSMIT, "inside", frames.ICMP),
        (RECEIVE, network.client.dev, frames.ICMP),
    ]


def test_its_head_is_replaced_on_the_way(forwarded: Collection) -> None:
    """Between the two devices of the router: without that the test above shows little."""
    assert kernel_symbols([EXPAND])
    echo, _ = by_id(forwarded.events).values()
    symbols = [event["kernel"]["symbol"] for event in echo]
    assert EXPAND in symbols
    assert (
        symbols.index(RECEIVE)
        < symbols.index(EXPAND)
        < len(symbols) - symbols[::-1].index(TRANSMIT)
    )


def test_function_sees_inner_and_outer(forwarded: Collection) -> None:
    for events in by_id(forwarded.events).values():
        received = [e for e in events if e["kernel"]["symbol"] == "ip_rcv"]
        protocols = [frames.parse(packet_bytes(event)).protocol for event in received]
        assert frames.UDP in protocols
        assert frames.ICMP in protocols
