import struct

import pytest

from interop.packet_builders import ethernet, ipv4, macsec, tcp
from retis_py.packet import packet_text

LINK = "02:00:00:00:00:02 > 02:00:00:00:00:01 ethertype 802.1AE MACsec (0x88e5)"
TCP = (
    "10.0.0.1.1000 > 10.0.0.2.80 tos 0x0 ttl 64 id 1 off 0 [DF] len 40 proto TCP (6)"
    " flags [P.] seq 100 ack 5 win 500"
)
TRUNCATED = "... (truncated or incomplete packet)"


def link(body: bytes) -> str:
    packet = ethernet(body, 0x88E5)
    return packet_text(packet, len(packet), link_layer=True)


def plain(body: bytes) -> str:
    packet = ethernet(body, 0x88E5)
    return packet_text(packet, len(packet))


def test_frame_in_the_clear_follows() -> None:
    body = macsec(ipv4(tcp()))
    assert link(body) == f"{LINK} an 0 pn 7 flags [] ethertype IPv4 (0x0800) {TCP}"
    assert plain(body) == TCP


def test_tag_inside() -> None:
    body = macsec(struct.pack("!HH", 5, 0x0800) + ipv4(tcp()), 0x8100)
    assert link(body) == (
        f"{LINK} an 0 pn 7 flags [] ethertype 802.1Q (0x8100)"
        f" vlan 5 p 0 ethertype IPv4 (0x0800) {TCP}"
    )


def test_encrypted() -> None:
    body = macsec(bytes(40), control=0x2E, short_length=40)
    assert link(body) == f"{LINK} an 2 pn 7 flags [ECI] sl 40 sci 0x0200000000010001"
    assert plain(body) == "802.1AE MACsec frame"


def test_changed_only() -> None:
    body = macsec(bytes(40), control=0x04)
    assert link(body) == f"{LINK} an 0 pn 7 flags [C]"
    assert plain(body) == "802.1AE MACsec frame"


def test_all_flags() -> None:
    assert " flags [ECSBI] " in link(macsec(bytes(40), control=0xFC))


def test_short_length_has_six_bits() -> None:
    assert link(macsec(b"", control=0x08, short_length=0xC0)) == f"{LINK} an 0 pn 7 flags [E]"


@pytest.mark.parametrize("size", [6, 7])
def test_cut_before_the_ethertype(size: int) -> None:
    """The reference panics on these."""
    body = macsec(b"")[:size]
    assert plain(body) == TRUNCATED
    assert link(body) == f"{LINK} an 0 pn 7 flags []{TRUNCATED}"


@pytest.mark.parametrize("size", range(6, 14))
def test_cut_in_the_channel_identifier(size: int) -> None:
    """The reference panics on these."""
    body = macsec(b"", control=0x20)[:size]
    assert plain(body) == TRUNCATED
    assert link(body) == f"{LINK} an 0 pn 7 flags [I]{TRUNCATED}"


def test_cut_in_the_tag() -> None:
    assert plain(macsec(b"")[:5]) == TRUNCATED
    assert link(macsec(b"")[:5]) == f"{LINK} {TRUNCATED}"
