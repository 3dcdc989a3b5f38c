"""What the socket buffer says, against traffic of which all is known: VLAN, GSO, IPv6, clones."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import capabilities, cli, frames, netns
from lab.collection import (
    Collection,
    Event,
    collect,
    kernel_symbols,
    namespace_number,
    packet_bytes,
    sender,
    temporary_path,
)
from lab.emulation import fast_machine_only

pytestmark = pytest.mark.timeout(400)

PLAIN, VLAN, IPV6, TUN, LONG, STREAM = 4001, 4002, 4003, 4004, 4005, 4006  # ports
SHORT, LENGTH = 100, 1200  # of payloads, bytes
HEADERS = 14 + 20 + 8  # Ethernet, IPv4, UDP
PRIORITY = 5
VLAN_ID, VLAN_PRIORITY = 7, 3
STRANGER = "020000000099"  # source of the frame that is dropped at the ingress hook
TAGGED = (6 << 13) | (1 << 12) | 100  # priority, drop eligible, VLAN id
STRANGE_TAG = {"proto": 0x8100, "pcp": 6, "dei": True, "vid": 100}

TRANSMIT, RECEIVE = "net:net_dev_start_xmit", "net:netif_rx"


@dataclass(frozen=True, slots=True)
class Link:
    """The hosts, where the kernel has VLAN devices with one on top of each veth."""

    left: netns.Host
    right: netns.Host
    has_vlan: bool


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    capabilities.require("root")
    capabilities.require("btf")
    # Where a module makes the device node it has to be there first.
    subprocess.run(["modprobe", "--quiet", "tun"], check=False)
    with netns.pair(ipv6=True) as pair:
        has_vlan = add_vlan(pair)
        hook = f"type filter hook ingress device {pair.right.dev} priority 0"
        stranger = bytes.fromhex(STRANGER).hex(":")
        rule = f"ether saddr {stranger} drop"
        pair.right.run(
            "nft", f"table netdev strangers {{\nchain ingress {{ {hook};\n{rule}\n}}\n}}"
        )
        yield Link(pair.left, pair.right, has_vlan)


def add_vlan(pair: netns.Pair) -> bool:
    """Put a VLAN device over each end; false where the kernel has none (CONFIG_VLAN_8021Q)."""
    for host, end in ((pair.left, 1), (pair.right, 2)):
        vlan = ["link", host.dev, "name", "vlan", "type", "vlan", "id", str(VLAN_ID)]
        priorities = ["egress-qos-map", f"0:{VLAN_PRIORITY}"]
        added = host.run("ip", "link", "add", *vlan, *priorities, check=False)
        if "Unknown device type" in added.stderr:
            return False
        assert added.returncode == 0, added.stderr
        host.run("sysctl", "-qw", "net.ipv6.conf.vlan.disable_ipv6=1")
        host.run("ip", "link", "set", "vlan", "up")
        host.run("ip", "addr", "add", f"10.98.0.{end}/24", "dev", "vlan")
    neighbour = ["10.98.0.2", "lladdr", pair.right.mac, "dev", "vlan", "nud", "permanent"]
    pair.left.run("ip", "neigh", "replace", *neighbour)
    return True


@pytest.fixture
def vlan(link: Link) -> None:
    """The link has VLAN devices."""
    if not link.has_vlan:
        # Whoever says that modules are here has a kernel with this one.
        assert "modules" not in capabilities.must_not_skip()
        pytest.skip("the kernel has no VLAN devices (CONFIG_VLAN_8021Q)")


def frame_with_tag(link: Link) -> str:
    """An Ethernet frame, hex, tagged in the packet itself; the payload is no protocol's."""
    destination = link.right.mac.replace(":", "")
    return f"{destination}{STRANGER}8100{TAGGED:04x}88b5{bytes(60).hex()}"


def traffic(link: Link) -> str:
    left, right = link.left, link.right
    sends = [
        sender(left, "udp", right.ip4, PLAIN, SHORT, PRIORITY),
        *([sender(left, "udp", "10.98.0.2", VLAN, SHORT)] if link.has_vlan else []),
        sender(left, "udp", right.ip6, IPV6, SHORT),
        sender(left, "udp", right.ip4, LONG, LENGTH),
        sender(left, "tcp", right.ip4, STREAM, 60_000),
        sender(left, "raw", left.dev, frame_with_tag(link)),
        sender(left, "tun", "tun0", "10.97.0.1", "10.97.0.2", TUN),
    ]
    return "set -e; " + "; ".join(sends)


def trace(link: Link, *arguments: str) -> Iterator[Collection]:
    probes = [f"tp:{TRANSMIT}", f"tp:{RECEIVE}", "tp:skb:kfree_skb"]
    if capabilities.CAPABILITIES["kprobes"]() is None:
        probes.append("kprobe:__ip_local_out")
    words = [word for probe in probes for word in ("-p", probe)]
    with link.right.background("/usr/bin/python3", "-IS", sender_script(), "sink", str(STREAM)):
        link.right.wait_for_port(STREAM)
        with temporary_path() as path:
            made = collect(*arguments, *words, path=path, cmd=traffic(link))
            assert "Command ended with exit code 0" in made.result.stderr
            yield made.within(namespace_number(link.left), namespace_number(link.right))


def sender_script() -> str:
    return netns.__file__.replace("netns.py", "sender.py")


@pytest.fixture(scope="module")
def everything(link: Link) -> Iterator[Collection]:
    """All sections of the metadata, 64 bytes of the packets."""
    yield from trace(link, "--skb-sections", "all", "--snaplen", "64")


@pytest.fixture(scope="module")
def nothing(link: Link) -> Iterator[Collection]:
    """No metadata but what is always there, 1,024 bytes of the packets."""
    yield from trace(link, "--snaplen", "1024")


def datagrams(collection: Collection, symbol: str, port: int) -> list[Event]:
    """Events of UDP to a port."""
    found = []
    for event in collection.at(symbol):
        data = packet_bytes(event)
        if len(data) < HEADERS or data[12:14] not in (b"\x08\x00", b"\x86\xdd"):
            continue
        frame = frames.parse(data)
        if frame.protocol == frames.UDP and frame.ports[1] == port:
            found.append(event)
    return found


def datagram(collection: Collection, symbol: str, port: int, dev: str) -> Event:
    """The event of the datagram to a port at a device."""
    [event] = [e for e in datagrams(collection, symbol, port) if e["dev"]["name"] == dev]
    return event


def test_metadata_when_sent(everything: Collection, link: Link) -> None:
    event = datagram(everything, TRANSMIT, PLAIN, link.left.dev)
    meta = event["skb"]["meta"]
    assert meta["len"] == event["packet"]["len"] == HEADERS + SHORT
    assert meta["data_len"] == 0
    assert meta["priority"] == PRIORITY
    # Left to the device: from the UDP header on, into its checksum field 6 bytes further.
    assert meta["ip_summed"] == 3
    assert meta["csum"] >> 16 == 6
    assert "vlan_accel" not in event["skb"]
    assert "gso" not in event["skb"]


def test_metadata_when_received(everything: Collection, link: Link) -> None:
    """The device has pulled the Ethernet header, and the priority stays in the sender's netns."""
    event = datagram(everything, RECEIVE, PLAIN, link.right.dev)
    assert event["packet"]["len"] == HEADERS + SHORT
    assert event["skb"]["meta"]["len"] == HEADERS + SHORT - frames.ETH_HEADER
    assert event["skb"]["meta"]["priority"] == 0


def test_references_of_a_lone_packet(everything: Collection, link: Link) -> None:
    event = datagram(everything, TRANSMIT, PLAIN, link.left.dev)
    alone = {"nohdr": False, "cloned": False, "fclone": 0, "users": 1, "dataref": 1}
    assert event["skb"]["data_ref"] == alone


def stream_segments(collection: Collection, link: Link) -> list[Event]:
    """TCP segments with data, as they leave the sender's device."""
    found = []
    for event in collection.at(TRANSMIT):
        data = packet_bytes(event)
        if event["dev"]["name"] == link.left.dev and data[12:14] == b"\x08\x00" and data[23] == 6:
            frame = frames.parse(data)
            if frame.ports[1] == STREAM and frame.ip_length > 200:
                found.append(event)
    return found


def test_segmentation_offload(everything: Collection, link: Link) -> None:
    segments = stream_segments(everything, link)
    large = [e for e in segments if e["packet"]["len"] > 1514]
    assert large, "the sender's TCP makes packets larger than the MTU"
    for event in large:
        gso, meta, length = event["skb"]["gso"], event["skb"]["meta"], event["packet"]["len"]
        header = 14 + 20 + 32  # TCP with timestamps
        assert gso["type"] & 1  # SKB_GSO_TCPV4
        assert 1000 < gso["size"] <= 1460
        assert gso["segs"] == -(-(length - header) // gso["size"])
        assert meta["len"] == length
        assert meta["data_len"] <= length - header
        assert event["packet"]["capture_len"] == len(packet_bytes(event)) == 64
    # All bytes of the stream are counted, those in pages too.
    payload = sum(e["packet"]["len"] - 14 - 20 - 32 for e in segments)
    assert payload >= 60_000


def test_clones(everything: Collection, link: Link) -> None:
    """TCP sends a clone from the pair that it allocated, and keeps the original to send again."""
    for event in stream_segments(everything, link):
        reference = event["skb"]["data_ref"]
        assert reference["cloned"]
        assert reference["fclone"] == 2  # SKB_FCLONE_CLONE
        assert reference["dataref"] >= 2


def test_vlan_beside_the_packet(everything: Collection, link: Link, vlan: None) -> None:
    tag = {"proto": 0x8100, "pcp": VLAN_PRIORITY, "dei": False, "vid": VLAN_ID}
    upper = datagram(everything, TRANSMIT, VLAN, "vlan")
    lower = datagram(everything, TRANSMIT, VLAN, link.left.dev)
    received = datagram(everything, RECEIVE, VLAN, link.right.dev)
    assert "vlan_accel" not in upper["skb"]
    assert lower["skb"]["vlan_accel"] == received["skb"]["vlan_accel"] == tag
    # The tag is not among the packet's bytes.
    assert lower["packet"]["len"] == HEADERS + SHORT


def tagged_frames(collection: Collection, symbol: str) -> list[Event]:
    return [e for e in collection.at(symbol) if packet_bytes(e)[6:12].hex() == STRANGER]


def test_vlan_taken_out_of_the_packet(everything: Collection) -> None:
    """On its way in the kernel moves the tag from the packet to the metadata, before the hook."""
    [received] = tagged_frames(everything, RECEIVE)
    [dropped] = tagged_frames(everything, "skb:kfree_skb")
    assert packet_bytes(received)[12:16].hex() == f"8100{TAGGED:04x}"
    assert received["packet"]["len"] == 18 + 60
    assert "vlan_accel" not in received["skb"]
    assert dropped["skb"]["vlan_accel"] == STRANGE_TAG
    assert packet_bytes(dropped)[12:14].hex() == "88b5"
    assert dropped["packet"]["len"] == 14 + 60


def test_ipv6(everything: Collection, link: Link) -> None:
    event = datagram(everything, RECEIVE, IPV6, link.right.dev)
    frame = frames.parse(packet_bytes(event))
    assert (frame.ethertype, frame.source, frame.destination) == (
        frames.IPV6,
        link.left.ip6,
        link.right.ip6,
    )
    assert frame.ip_length == 40 + 8 + SHORT
    assert event["packet"]["len"] == 14 + frame.ip_length


@pytest.mark.parametrize("symbol", [TRANSMIT, RECEIVE])
def test_snaplen_cuts(everything: Collection, symbol: str) -> None:
    [event] = datagrams(everything, symbol, LONG)
    assert event["packet"]["len"] == HEADERS + LENGTH
    assert event["packet"]["capture_len"] == len(packet_bytes(event)) == 64


@fast_machine_only
@pytest.mark.parametrize("symbol", [TRANSMIT, RECEIVE])
def test_largest_snaplen_cuts(nothing: Collection, symbol: str) -> None:
    [event] = datagrams(nothing, symbol, LONG)
    assert event["packet"]["len"] == HEADERS + LENGTH
    assert event["packet"]["capture_len"] == len(packet_bytes(event)) == 1024
    assert packet_bytes(event)[HEADERS:] == bytes(1024 - HEADERS)


@fast_machine_only
def test_snaplen_leaves_short_packets_whole(nothing: Collection, link: Link) -> None:
    event = datagram(nothing, TRANSMIT, PLAIN, link.left.dev)
    assert event["packet"]["capture_len"] == event["packet"]["len"] == HEADERS + SHORT


@fast_machine_only
def test_vlan_needs_no_section_named(nothing: Collection, link: Link) -> None:
    [dropped] = tagged_frames(nothing, "skb:kfree_skb")
    assert dropped["skb"] == {"vlan_accel": STRANGE_TAG}
    assert "skb" not in datagram(nothing, RECEIVE, PLAIN, link.right.dev)


def test_device_without_link_layer(everything: Collection) -> None:
    event = datagram(everything, TRANSMIT, TUN, "tun0")
    data = packet_bytes(event)
    assert data[:14] == bytes(12) + b"\x08\x00"
    frame = frames.parse(data)
    assert (frame.source, frame.destination) == ("10.97.0.1", "10.97.0.2")
    assert event["packet"]["len"] == len(data) == HEADERS + 10
    assert event["skb"]["meta"]["len"] == HEADERS + 10 - 14


def test_before_there_is_a_link_layer(everything: Collection, link: Link, kprobes: None) -> None:
    assert kernel_symbols(["__ip_local_out"])
    [event] = datagrams(everything, "__ip_local_out", PLAIN)
    data = packet_bytes(event)
    assert data[:14] == bytes(12) + b"\x08\x00"
    assert (len(data), event["packet"]["len"]) == (64, HEADERS + SHORT)
    assert event["netns"]["inum"] == namespace_number(link.left)


@fast_machine_only
def test_text_with_the_link_layer(everything: Collection) -> None:
    printed = cli.retis("print", "-e", everything.path).stdout
    assert "vlan_accel (ethertype 802.1Q (0x8100) vlan 100 p 6 DEI)" in printed


@fast_machine_only
@pytest.mark.parametrize("name", ["packet", "dev", "ns", "tcp", "ipv4"])
def test_old_section_names_warn(root: None, btf: None, name: str) -> None:
    result = cli.retis(
        *("collect", "-c", "skb", "-p", "tp:net:netif_rx"),
        *("--skb-sections", f"{name},meta", "--print-bpf"),
    )
    assert result.exit_code == 0
    warnings = [line for line in result.stderr.splitlines() if "[WARN]" in line]
    assert len(warnings) == 1
    assert f"--skb-sections {name} is no longer needed" in warnings[0]


@fast_machine_only
def test_unknown_section(root: None, btf: None) -> None:
    result = cli.retis("collect", "--skb-sections", "meta,headers", "--print-bpf")
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: --skb-sections: unknown section 'headers'")
    assert "all, eth, meta, dataref, gso" in line
