"""Metadata filters on live packets: devices, marks, lengths, conntrack; with a packet filter too.

Five datagrams, told apart by their ports, each with something that only it has.
"""

from collections.abc import Iterator, Sequence

import pytest

from lab import capabilities, frames, netns
from lab.collection import (
    Collection,
    collect,
    namespace_number,
    packet_bytes,
    sender,
    temporary_path,
)
from lab.emulation import fast_machine_only
from lab.traffic import in_namespace

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("root", "btf")]

PLAIN, MARKED, LONG, TRACKED, RULED = PORTS = (4001, 4002, 4003, 4004, 4005)
MARK, RULE_MARK, CONNECTION_MARK = 0x12A, 0x2B, 7
TRANSMIT, RECEIVE = "net:net_dev_start_xmit", "net:netif_receive_skb"
CONNECTION = f"sk_buff._nfct:~0x7:nf_conn.mark == {CONNECTION_MARK}"

RULES = f"""table ip marks {{
    chain out {{
        type filter hook output priority 0
        udp dport {RULED} meta mark set {RULE_MARK}
        udp dport {TRACKED} ct mark set {CONNECTION_MARK}
    }}
}}"""


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    with netns.pair(ipv6=False) as pair:
        pair.left.run("nft", RULES)
        yield pair


def ports(link: netns.Pair, *arguments: str) -> dict[str, list[int]]:
    """Destination ports of the datagrams reported, by tracepoint."""
    left, to = link.left, link.right.ip4
    sends = [
        sender(left, "udp", to, PLAIN, 100),
        in_namespace(left, "marked", to, MARKED, 100, MARK),
        sender(left, "udp", to, LONG, 1200),
        sender(left, "udp", to, TRACKED, 100),
        sender(left, "udp", to, RULED, 100),
    ]
    probes = ["-p", f"tp:{TRANSMIT}", "-p", f"tp:{RECEIVE}"]
    with temporary_path() as path:
        made = collect(
            *("-c", "skb-tracking,skb,dev,ns", *arguments, *probes), path=path, cmd="; ".join(sends)
        )
    assert "Command ended with exit code 0" in made.result.stderr
    made = made.within(namespace_number(left), namespace_number(link.right))
    return {symbol: datagrams(made, symbol) for symbol in (TRANSMIT, RECEIVE)}


def datagrams(made: Collection, symbol: str) -> list[int]:
    """Those of the sender; nobody listens, so each is answered by ICMP."""
    found = [frames.parse(packet_bytes(event)) for event in made.at(symbol)]
    return [frame.ports[1] for frame in found if frame.protocol == frames.UDP]


def everywhere(expected: Sequence[int]) -> dict[str, list[int]]:
    """What matches when it is sent is followed to where it arrives, without its mark by then."""
    return {TRANSMIT: list(expected), RECEIVE: list(expected)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param('sk_buff.dev.name == "veth-a"', PORTS, marks=fast_machine_only),
        pytest.param("sk_buff.mark:0xff == 0x2a", [MARKED], marks=fast_machine_only),
        pytest.param(f"sk_buff.mark == {RULE_MARK}", [RULED], marks=fast_machine_only),
        pytest.param("sk_buff.len > 1000 and sk_buff.len <= 1242", [LONG], marks=fast_machine_only),
        pytest.param("sk_buff.mark", [MARKED, RULED], marks=fast_machine_only),
        ("sk_buff.dev.name == 'veth-a' && (sk_buff.mark:~0xff == 0x100 || sk_buff.len > 1000)",
         [MARKED, LONG]),
    ],
)  # fmt: skip
def test_what_matches(link: netns.Pair, expression: str, expected: Sequence[int]) -> None:
    own = f"sk_buff.dev.nd_net.net.ns.inum == {namespace_number(link.left)}"
    assert ports(link, "-m", f"{own} && ({expression})") == everywhere(expected)


@fast_machine_only
def test_first_match_at_the_receiver(link: netns.Pair) -> None:
    """The other device's name: nothing is reported before it gets there."""
    found = ports(link, "-m", f'sk_buff.dev.name == "{link.right.dev}"')
    assert found == {TRANSMIT: [], RECEIVE: list(PORTS)}


def test_conntrack(link: netns.Pair) -> None:
    """Behind a number that holds a pointer and, in its lowest bits, a state."""
    assert ports(link, "-m", CONNECTION) == everywhere([TRACKED])


def test_both_filters(link: netns.Pair) -> None:
    """Each alone matches a datagram that the other does not."""
    packet = f"udp dst port {MARKED} or udp dst port {LONG}"
    found = ports(link, "-f", packet, "-m", "sk_buff.mark && sk_buff.len < 1000")
    assert found == everywhere([MARKED])


@fast_machine_only
def test_both_filters_and_nothing_that_matches_both(link: netns.Pair) -> None:
    found = ports(link, "-f", f"udp dst port {LONG}", "-m", "sk_buff.mark == 0x12a")
    assert found == everywhere([])
