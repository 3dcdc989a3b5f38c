import struct
import time

import pytest

from interop.packet_builders import ah, ethernet, ipv4, ipv6, macsec, samples, tcp, vxlan
from retis_py.packet import packet_text

DEEP = 3000


def nested_vxlan() -> bytes:
    """By hand from the outside in: 50 bytes a level, as deep as an IPv4 length allows."""
    packet = ethernet(ipv4(vxlan(b""), 17, total=0xFFFF))
    return packet * 1300


@pytest.mark.parametrize(
    "packet",
    [
        ethernet(macsec(b"", 0x88E5) * DEEP, 0x88E5),
        ethernet(struct.pack("!HH", 1, 0x8100) * DEEP, 0x8100),
        ethernet(ipv4(ah(b"", 51, check_value=b"") * DEEP, 51)),
        ethernet(ipv6(bytes(8) * DEEP, 0), 0x86DD),
        nested_vxlan(),
    ],
    ids=["macsec", "vlan", "ah", "ipv6-extensions", "vxlan"],
)
def test_nesting_is_no_recursion_and_takes_linear_time(packet: bytes) -> None:
    assert len(packet) > 10_000
    before = time.process_time()
    text = packet_text(packet, len(packet), link_layer=True)
    assert time.process_time() - before < 2
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize("name", samples())
@pytest.mark.parametrize("link_layer", [False, True])
def test_any_cut_is_printable(name: str, link_layer: bool) -> None:
    packet = samples()[name]
    for length in range(len(packet) + 1):
        text = packet_text(packet[:length], len(packet), link_layer=link_layer)
        assert text.isascii()
        assert text.isprintable()
        assert length >= 14 or text == "... (truncated or incomplete packet)"


def test_link_layer_only_adds() -> None:
    packet = ethernet(ipv4(tcp()))
    with_link = packet_text(packet, len(packet), link_layer=True)
    assert with_link.endswith(packet_text(packet, len(packet)))


def test_empty() -> None:
    assert packet_text(b"", 0) == "... (truncated or incomplete packet)"
