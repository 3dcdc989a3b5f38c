"""The profile ifdump: packets as they come in from and go out to devices."""

from collections.abc import Iterator

import pytest

from lab import capabilities, frames, netns
from lab.collection import Collection, collect, namespace_number, packet_bytes, temporary_path

pytestmark = pytest.mark.timeout(400)

OUT, IN = "net:net_dev_start_xmit", "net:netif_receive_skb"
REQUEST, REPLY = 8, 0  # ICMP


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    capabilities.require("btf")
    with netns.pair(ipv6=False) as made:
        yield made


@pytest.fixture(scope="module")
def pinged(link: netns.Pair) -> Iterator[Collection]:
    command = f"{link.left.prefix} ping -n -c1 -W20 {link.right.ip4}"
    with temporary_path() as path:
        made = collect(profile="ifdump", path=path, cmd=command)
        yield made.within(namespace_number(link.left), namespace_number(link.right))


def test_each_packet_at_each_device(pinged: Collection, link: netns.Pair) -> None:
    seen = [
        (e["kernel"]["symbol"], e["netns"]["inum"], e["dev"]["name"], frame.payload[0])
        for e in pinged.events
        if (frame := frames.parse(packet_bytes(e))).protocol == frames.ICMP
    ]
    left, right = ((namespace_number(host), host.dev) for host in (link.left, link.right))
    assert seen == [
        (OUT, *left, REQUEST),
        (IN, *right, REQUEST),
        (OUT, *right, REPLY),
        (IN, *left, REPLY),
    ]
