"""One ping between two namespaces, and nothing but its echo and its reply in the event file."""

from collections.abc import Iterator

import pytest

from lab import capabilities, frames, netns
from lab.collection import (
    Collection,
    Event,
    collect,
    interface_index,
    namespace_number,
    packet_bytes,
    temporary_path,
)

pytestmark = pytest.mark.timeout(400)

PING_LENGTH = 14 + 20 + 8 + 56  # Ethernet, IPv4, ICMP, ping's default payload


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    capabilities.require("btf")
    with netns.pair(ipv6=False) as made:
        yield made


def ping(link: netns.Pair, *probes: str) -> Iterator[Collection]:
    arguments = [word for probe in probes for word in ("-p", probe)]
    command = f"{link.left.prefix} ping -n -c1 -W20 {link.right.ip4}"
    with temporary_path() as path:
        made = collect("-c", "skb,dev,ns", *arguments, path=path, cmd=command)
        assert "Command ended with exit code 0" in made.result.stderr
        yield made.within(namespace_number(link.left), namespace_number(link.right))


@pytest.fixture(scope="module")
def at_functions(link: netns.Pair) -> Iterator[Collection]:
    capabilities.require("kprobes")
    yield from ping(link, "kprobe:ip_rcv", "kretprobe:ip_rcv", "tp:net:netif_rx")


@pytest.fixture(scope="module")
def at_tracepoints(link: netns.Pair) -> Iterator[Collection]:
    yield from ping(
        link, "tp:net:netif_rx", "tp:net:netif_receive_skb", "tp:net:net_dev_start_xmit"
    )


def icmp_type(event: Event) -> int:
    return frames.parse(packet_bytes(event)).payload[0]


def assert_is_at(event: Event, host: netns.Host) -> None:
    assert event["dev"]["name"] == host.dev
    assert event["dev"]["ifindex"] == interface_index(host)
    assert event["netns"]["inum"] == namespace_number(host)


def assert_is_sent_by(event: Event, sender: netns.Host, receiver: netns.Host, kind: int) -> None:
    frame = frames.parse(packet_bytes(event))
    assert (frame.source, frame.destination) == (sender.ip4, receiver.ip4)
    assert (frame.source_mac, frame.destination_mac) == (sender.mac, receiver.mac)
    assert (frame.protocol, frame.payload[0]) == (frames.ICMP, kind)
    assert frame.ip_length == PING_LENGTH - frames.ETH_HEADER
    assert event["packet"]["len"] == event["packet"]["capture_len"] == PING_LENGTH
    assert len(packet_bytes(event)) == PING_LENGTH


def assert_is_echo_and_reply_received(events: list[Event], link: netns.Pair) -> None:
    assert len(events) == 2
    echo, reply = events
    assert_is_sent_by(echo, link.left, link.right, frames.ECHO_REQUEST)
    assert_is_at(echo, link.right)
    assert_is_sent_by(reply, link.right, link.left, frames.ECHO_REPLY)
    assert_is_at(reply, link.left)


def test_function_sees_echo_and_reply(at_functions: Collection, link: netns.Pair) -> None:
    assert_is_echo_and_reply_received(at_functions.at("ip_rcv", "kprobe"), link)


def test_tracepoint_beside_a_function(at_functions: Collection, link: netns.Pair) -> None:
    events = at_functions.at("net:netif_rx", "raw_tracepoint")
    assert_is_echo_and_reply_received(events, link)


def test_nothing_else_is_seen_at_functions(at_functions: Collection) -> None:
    assert len(at_functions.events) == 6


def test_function_follows_the_tracepoint(at_functions: Collection) -> None:
    for kind in (frames.ECHO_REQUEST, frames.ECHO_REPLY):
        seen = [
            (e["kernel"]["symbol"], e["common"]["timestamp"])
            for e in [*at_functions.at("net:netif_rx"), *at_functions.at("ip_rcv", "kprobe")]
            if icmp_type(e) == kind
        ]
        (first, first_time), (then, then_time) = seen
        assert (first, then) == ("net:netif_rx", "ip_rcv")
        assert first_time < then_time


def test_return_has_the_arguments_of_the_entry(at_functions: Collection, link: netns.Pair) -> None:
    """The skb may be freed by the time of the return: its device is an argument of ip_rcv too."""
    entries, returns = (at_functions.at("ip_rcv", kind) for kind in ("kprobe", "kretprobe"))
    assert len(returns) == 2
    by_namespace = {e["netns"]["inum"]: e for e in returns}
    for entry, host in zip(entries, (link.right, link.left), strict=True):
        back = by_namespace[entry["netns"]["inum"]]
        assert_is_at(back, host)
        assert back["common"]["timestamp"] > entry["common"]["timestamp"]
        assert back["common"]["smp_id"] == entry["common"]["smp_id"]


def test_nothing_is_lost(at_functions: Collection) -> None:
    assert ", none lost" in at_functions.result.stderr


@pytest.mark.parametrize("tracepoint", ["net:netif_rx", "net:netif_receive_skb"])
def test_tracepoints_of_reception(
    at_tracepoints: Collection, link: netns.Pair, tracepoint: str
) -> None:
    assert_is_echo_and_reply_received(at_tracepoints.at(tracepoint, "raw_tracepoint"), link)


def test_tracepoint_of_transmission(at_tracepoints: Collection, link: netns.Pair) -> None:
    echo, reply = at_tracepoints.at("net:net_dev_start_xmit", "raw_tracepoint")
    assert_is_sent_by(echo, link.left, link.right, frames.ECHO_REQUEST)
    assert_is_at(echo, link.left)
    assert "rx_ifindex" not in echo["dev"]
    assert_is_sent_by(reply, link.right, link.left, frames.ECHO_REPLY)
    assert_is_at(reply, link.right)


def test_nothing_else_is_seen_at_tracepoints(at_tracepoints: Collection) -> None:
    assert len(at_tracepoints.events) == 6


def test_a_packet_passes_the_tracepoints_in_order(at_tracepoints: Collection) -> None:
    way = ["net:net_dev_start_xmit", "net:netif_rx", "net:netif_receive_skb"]
    for kind in (frames.ECHO_REQUEST, frames.ECHO_REPLY):
        events = [e for e in at_tracepoints.events if icmp_type(e) == kind]
        assert [e["kernel"]["symbol"] for e in events] == way
        times = [e["common"]["timestamp"] for e in events]
        assert times == sorted(times)


def test_the_sender_is_named(at_tracepoints: Collection) -> None:
    echo = at_tracepoints.at("net:net_dev_start_xmit")[0]
    task = echo["common"]["task"]
    assert task["comm"] == "ping"
    assert task["pid"] == task["tgid"] > 1


def test_startup_event(at_tracepoints: Collection) -> None:
    startup = at_tracepoints.startup["startup"]
    assert startup["retis_version"].startswith("v1.7.0+retis-py.")
    assert startup["cmdline"].startswith("retis collect -c skb,dev,ns -p tp:net:netif_rx")
    assert at_tracepoints.startup["common"]["timestamp"] < min(
        e["common"]["timestamp"] for e in at_tracepoints.events
    )
