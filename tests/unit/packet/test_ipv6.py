import pytest

from interop.packet_builders import ethernet, extension, ipv6, tcp, udp
from retis_py.packet import packet_text

TRUNCATED = "... (truncated or incomplete packet)"


def text(packet: bytes) -> str:
    return packet_text(packet, len(packet))


def test_ports_traffic_class_and_label() -> None:
    packet = ethernet(ipv6(udp(b"data"), 17, traffic_class=3, label=0xBEEF), 0x86DD)
    assert text(packet) == (
        "fd00::1.1000 > fd00::2.53 CE ttl 64 label 0xbeef len 12 proto UDP (17) len 4"
    )


@pytest.mark.parametrize("words", [1, 2, 255])
def test_extension_longer_than_the_packet(words: int) -> None:
    """The reference panics on these."""
    packet = ethernet(ipv6(extension(6, 0, words), 0), 0x86DD)
    assert text(packet) == (f"fd00::1 > fd00::2 ttl 64 label 0x0 len 8 exts [Hopopt]{TRUNCATED}")


@pytest.mark.parametrize("have", range(2, 8))
def test_second_extension_cut(have: int) -> None:
    """The reference panics on these."""
    packet = ethernet(ipv6(extension(60) + extension(6) + tcp(), 43), 0x86DD)
    assert text(packet[: 14 + 40 + 8 + have]) == (
        f"fd00::1 > fd00::2 ttl 64 label 0x0 len 36 exts [Ipv6Route,Ipv6Opts]{TRUNCATED}"
    )


def test_extension_cut_by_the_stated_length() -> None:
    packet = ethernet(ipv6(extension(6) + tcp(), 44, length=5), 0x86DD)
    assert text(packet) == (f"fd00::1 > fd00::2 ttl 64 label 0x0 len 5 exts [Ipv6Frag]{TRUNCATED}")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("::", "::"),
        ("::1", "::1"),
        ("::1.2.3.4", "::102:304"),
        ("::1:2", "::1:2"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
    ],
)
def test_addresses(address: str, shown: str) -> None:
    packet = ethernet(ipv6(b"", 59, source=address), 0x86DD)
    assert text(packet) == f"{shown} > fd00::2 ttl 64 label 0x0"
