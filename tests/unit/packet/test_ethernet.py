import pytest

from interop.packet_builders import arp, ethernet, ipv4, tcp, udp, vxlan
from retis_py.packet import packet_text

MACS = "02:00:00:00:00:02 > 02:00:00:00:00:01"
TCP = (
    "10.0.0.1.1000 > 10.0.0.2.80 tos 0x0 ttl 64 id 1 off 0 [DF] len 40 proto TCP (6)"
    " flags [P.] seq 100 ack 5 win 500"
)
TRUNCATED = "... (truncated or incomplete packet)"


def link(packet: bytes) -> str:
    return packet_text(packet, len(packet), link_layer=True)


def test_addresses_and_ethertype_lead() -> None:
    assert link(ethernet(ipv4(tcp()))) == f"{MACS} ethertype IPv4 (0x0800) {TCP}"


def test_no_link_layer_unless_asked() -> None:
    packet = ethernet(ipv4(tcp()), tags=((0x8100, 10),))
    assert packet_text(packet, len(packet)) == TCP


def test_vlan_tags() -> None:
    packet = ethernet(ipv4(tcp()), tags=((0x88A8, 0x0FFF), (0x8100, 0xB00A)))
    assert link(packet) == (
        f"{MACS} ethertype 802.1Q-QinQ (0x88a8) vlan 4095 p 0 ethertype 802.1Q (0x8100)"
        f" vlan 10 p 5 DEI ethertype IPv4 (0x0800) {TCP}"
    )


@pytest.mark.parametrize(
    ("ethertype", "name"),
    [
        (0x6558, "TEB"),
        (0x8035, "Reverse ARP"),
        (0x809B, "Appletalk"),
        (0x80F3, "Appletalk ARP"),
        (0x880B, "PPP"),
        (0x8847, "MPLS unicast"),
        (0x8848, "MPLS multicast"),
        (0x8863, "PPPoE D"),
        (0x8864, "PPPoE S"),
        (0x888E, "EAPOL"),
        (0x88F7, "PTP"),
    ],
)
def test_names_of_what_is_not_supported(ethertype: int, name: str) -> None:
    assert link(ethernet(bytes(20), ethertype)) == (
        f"{MACS} ethertype {name} (0x{ethertype:04x})"
        f" ... (ethertype 0x{ethertype:04x} not supported, use 'retis pcap')"
    )


def test_unknown_ethertype_has_no_name() -> None:
    assert link(ethernet(b"", 0x1234)) == (
        f"{MACS} ethertype (0x1234) ... (ethertype 0x1234 not supported, use 'retis pcap')"
    )


def test_arp() -> None:
    assert link(ethernet(arp(1), 0x0806)) == (
        f"{MACS} ethertype ARP (0x0806) request who-has 10.0.0.2 tell 10.0.0.1"
    )


def test_cut_in_the_header() -> None:
    assert link(ethernet(b"")[:13]) == TRUNCATED


def test_cut_in_a_tag() -> None:
    packet = ethernet(b"", tags=((0x9100, 1),))
    assert link(packet[:17]) == f"{MACS} ethertype 802.1Q-9100 (0x9100){TRUNCATED}"


def test_frames_in_tunnels_have_theirs_too() -> None:
    inner = ethernet(ipv4(udp(b"x"), 17))
    assert link(ethernet(ipv4(vxlan(inner), 17))) == (
        f"{MACS} ethertype IPv4 (0x0800) 10.0.0.1.1000 > 10.0.0.2.4789 tos 0x0 ttl 64 id 1 off 0"
        " [DF] len 79 proto UDP (17) len 51 vxlan [I] vni 0xa0b"
        f" {MACS} ethertype IPv4 (0x0800) 10.0.0.1.1000 > 10.0.0.2.53 tos 0x0 ttl 64 id 1 off 0"
        " [DF] len 29 proto UDP (17) len 1"
    )
