"""Packets dropped on purpose: where, why and by which code, as the profile dropmon shows it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import capabilities, cli, frames, netns
from lab.collection import (
    Collection,
    Event,
    collect,
    interface_index,
    kernel_symbols,
    namespace_number,
    packet_bytes,
    temporary_path,
)
from lab.emulation import fast_machine_only

pytestmark = pytest.mark.timeout(400)

CLOSED_PORT = 4001  # nothing listens there
FILTERED_PORT = 4002  # the rule below drops what goes there
PAYLOAD = b"fourteen bytes"

RULESET = f"""
table ip filtering {{
    chain input {{
        type filter hook input priority 0
        udp dport {FILTERED_PORT} drop
    }}
}}
"""

# The functions that free a dropped packet and are told why: since Linux 5.17 and 6.11.
FREEING = ("kfree_skb_reason", "sk_skb_reason_drop")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A collection of both drops."""

    link: netns.Pair
    collection: Collection

    def only(self, port: int, symbol: str = "skb:kfree_skb") -> Event:
        """The event of the datagram to a port."""
        [event] = [
            e
            for e in self.collection.at(symbol)
            if "packet" in e
            and (frame := frames.parse(packet_bytes(e))).protocol == frames.UDP
            and frame.ports[1] == port
        ]
        return event


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    capabilities.require("btf")
    with netns.pair(ipv6=False) as made:
        made.right.run("nft", RULESET)
        yield made


def send_to_ports(link: netns.Pair, *ports: int) -> str:
    """A command that sends one datagram to each port."""
    address = link.right.ip4
    sends = "; ".join(f"s.sendto({PAYLOAD!r}, ({address!r}, {port}))" for port in ports)
    return (
        f"{link.left.prefix} /usr/bin/python3 -IS -c "
        f'"from socket import *; s = socket(AF_INET, SOCK_DGRAM); {sends}"'
    )


def drop(link: netns.Pair, *arguments: str) -> Iterator[Dropped]:
    command = send_to_ports(link, CLOSED_PORT, FILTERED_PORT)
    with temporary_path() as path:
        made = collect(*arguments, profile="dropmon", path=path, cmd=command)
        yield Dropped(link, made.within(namespace_number(link.left), namespace_number(link.right)))


@pytest.fixture(scope="module")
def dropped(link: netns.Pair) -> Iterator[Dropped]:
    yield from drop(link, "--print")


@pytest.fixture(scope="module")
def freed(link: netns.Pair) -> Iterator[Dropped]:
    """At the function that is told the reason, beside the tracepoint."""
    capabilities.require("kprobes")
    present = kernel_symbols(FREEING)
    assert present, f"this kernel has none of {FREEING}"
    yield from drop(link, *(w for name in sorted(present) for w in ("-p", f"kprobe:{name}")))


def assert_is_datagram_to(event: Event, link: netns.Pair, port: int) -> None:
    data = packet_bytes(event)
    frame = frames.parse(data)
    assert (frame.source, frame.destination) == (link.left.ip4, link.right.ip4)
    assert frame.ports[1] == port
    assert frame.payload[8:] == PAYLOAD
    assert event["packet"]["len"] == len(data) == 14 + 20 + 8 + len(PAYLOAD)


def functions_in(event: Event) -> list[str]:
    """The stack's functions, without their offsets."""
    return [frame.partition("+")[0] for frame in event["kernel"]["stack_trace"]]


def test_closed_port(dropped: Dropped, link: netns.Pair) -> None:
    event = dropped.only(CLOSED_PORT)
    assert event["skb-drop"] == {"drop_reason": "NO_SOCKET"}
    assert event["kernel"]["probe_type"] == "raw_tracepoint"
    assert_is_datagram_to(event, link, CLOSED_PORT)


def test_closed_port_device_and_namespace(dropped: Dropped, link: netns.Pair) -> None:
    event = dropped.only(CLOSED_PORT)
    index = interface_index(link.right)
    assert event["dev"] == {"name": link.right.dev, "ifindex": index, "rx_ifindex": index}
    assert event["netns"]["inum"] == namespace_number(link.right)


def test_closed_port_stack(dropped: Dropped) -> None:
    functions = functions_in(dropped.only(CLOSED_PORT))
    receive = [f for f in functions if f in ("__udp4_lib_rcv", "udp_rcv", "udp4_lib_rcv")]
    assert receive, functions
    # Innermost first: IP's delivery called UDP.
    assert functions.index(receive[0]) < functions.index("ip_protocol_deliver_rcu")


def test_stack_frames_have_offsets(dropped: Dropped) -> None:
    for frame in dropped.only(CLOSED_PORT)["kernel"]["stack_trace"]:
        name, _, offset = frame.partition("+0x")
        assert name
        assert int(offset, 16) >= 0


def test_netfilter(dropped: Dropped, link: netns.Pair) -> None:
    event = dropped.only(FILTERED_PORT)
    assert event["skb-drop"] == {"drop_reason": "NETFILTER_DROP"}
    assert_is_datagram_to(event, link, FILTERED_PORT)
    assert "nf_hook_slow" in functions_in(event)
    assert event["dev"]["ifindex"] == interface_index(link.right)


def test_two_drops_and_no_more(dropped: Dropped, link: netns.Pair) -> None:
    """The ICMP error about the closed port is delivered, not dropped as unwanted."""
    here = dropped.collection.within(namespace_number(link.right))
    assert [e["skb-drop"]["drop_reason"] for e in here.events] == ["NO_SOCKET", "NETFILTER_DROP"]


@fast_machine_only
def test_terminal_and_file_agree(dropped: Dropped) -> None:
    """The text beside the file is that of the file printed afterwards, without the startup."""
    live = dropped.collection.result.stdout
    later = cli.retis("print", dropped.collection.path).stdout
    assert "skb:kfree_skb drop (reason NO_SOCKET)" in live
    assert later.endswith(live)
    startup = later.removesuffix(live)
    assert startup.count("\n\n") == 1
    assert "skb:kfree_skb" not in startup


@pytest.mark.parametrize(
    ("port", "reason"), [(CLOSED_PORT, "NO_SOCKET"), (FILTERED_PORT, "NETFILTER_DROP")]
)
def test_function_with_a_reason(freed: Dropped, port: int, reason: str) -> None:
    events = [
        e
        for name in FREEING
        for e in freed.collection.at(name, "kprobe")
        if "packet" in e and frames.parse(packet_bytes(e)).ports[1] == port
    ]
    assert [e["skb-drop"] for e in events] == [{"drop_reason": reason}]
    assert events[0]["packet"] == freed.only(port)["packet"]
    assert events[0]["common"]["timestamp"] < freed.only(port)["common"]["timestamp"]
