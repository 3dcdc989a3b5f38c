"""Clones share their packet's id: what a bridge floods, what a packet socket gets."""

import shlex
from collections.abc import Iterator

import pytest

from lab import capabilities
from lab.collection import (
    Collection,
    Event,
    collect,
    namespace_number,
    packet_bytes,
    sender,
    temporary_path,
)
from lab.ids import by_id
from lab.topology import Bridged, bridge
from lab.traffic import in_namespace

pytestmark = pytest.mark.timeout(400)

# Nobody has it, and no other test sends to it.
UNKNOWN = "02:00:5e:c1:07:e5"
ETHERTYPE = 0x88B5  # local experiments, IEEE 802
TRANSMIT, RECEIVE, CONSUMED = "net:net_dev_start_xmit", "net:netif_receive_skb", "skb:consume_skb"


@pytest.fixture(scope="module")
def network() -> Iterator[Bridged]:
    capabilities.require("root")
    capabilities.require("btf")
    with bridge(ports=3) as made:
        yield made


@pytest.fixture(scope="module")
def traced(network: Bridged) -> Iterator[Collection]:
    """One frame to an address that the bridge does not know, two listeners at the last host."""
    source, listener = network.hosts[0], network.hosts[2]
    frame = (UNKNOWN + source.mac).replace(":", "") + f"{ETHERTYPE:04x}" + bytes(60).hex()
    listen = in_namespace(listener, "frames", listener.dev, ETHERTYPE, 2)
    probes = [word for name in (TRANSMIT, RECEIVE, CONSUMED) for word in ("-p", f"tp:{name}")]
    # They say "listening" once they do.
    send = sender(source, "raw", source.dev, frame)
    command = f"{listen} | {{ read _; {send}; read _; }}"
    with temporary_path() as path:
        made = collect(
            *("-c", "skb-tracking,skb,dev,ns", "-f", f"ether dst {UNKNOWN}", *probes),
            path=path,
            cmd=f"bash -o pipefail -c {shlex.quote(command)}",
        )
        assert "Command ended with exit code 0" in made.result.stderr
        yield made


def skbs(events: list[Event]) -> set[int]:
    return {event["skb-tracking"]["skb"] for event in events}


def test_flooded_frame_is_one_packet(traced: Collection) -> None:
    assert len(by_id(traced.events)) == 1
    assert all(packet_bytes(e)[:6].hex(":") == UNKNOWN for e in traced.events if "packet" in e)


def test_flooding_clones(traced: Collection, network: Bridged) -> None:
    """The bridge sends a clone to one port and the packet itself to the last."""
    bridge_number = namespace_number(network.bridge)
    sent = [
        event
        for event in traced.at(TRANSMIT)
        if event["netns"]["inum"] == bridge_number and event["dev"]["name"] in network.ports
    ]
    assert sorted(event["dev"]["name"] for event in sent) == list(network.ports[1:])
    assert len(skbs(sent)) == 2
    received = traced.at(RECEIVE)
    arrived = {event["netns"]["inum"] for event in received}
    assert arrived >= {namespace_number(host) for host in network.hosts[1:]} | {bridge_number}


def test_listeners_get_clones(traced: Collection, network: Bridged) -> None:
    """Of two packet sockets one takes a clone; each is freed when its socket has been read."""
    here = namespace_number(network.hosts[2])
    arrived = [e for e in traced.at(RECEIVE) if e["netns"]["inum"] == here]
    last_of_them = max(e["common"]["timestamp"] for e in arrived)
    read = [e for e in traced.at(CONSUMED) if e["common"]["timestamp"] > last_of_them]
    assert len(skbs(read)) >= 2
    assert skbs(read) - skbs(arrived)
