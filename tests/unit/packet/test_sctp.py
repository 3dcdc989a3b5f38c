import struct

from interop.packet_builders import chunk, ethernet, ipv4, sctp
from retis_py.packet import packet_text

TRUNCATED = "... (truncated or incomplete packet)"


def text(chunks: bytes, total: int | None = None) -> str:
    packet = ethernet(ipv4(sctp(chunks), 132, total=total))
    return packet_text(packet, len(packet)).partition("proto SCTP (132) ")[2]


DATA = chunk(0, struct.pack("!IHHI", 1, 2, 3, 46) + b"abcde", flags=7)


def test_chunks_one_after_the_other() -> None:
    init = chunk(1, struct.pack("!IIHHI", 0xABC, 2, 3, 4, 5))
    assert text(init + DATA + chunk(14) + chunk(200)) == (
        "vtag 0x1234 [INIT init_tag 0xabc rwnd 2 OS 3 MIS 4 init_TSN 5]"
        " [DATA (UBE) TSN 1 SID 2 SSEQ 3 PPID 0x2e] [SHUTDOWN_COMPLETE] [UNKNOWN:200]"
    )


def test_fixed_part_missing() -> None:
    assert text(DATA + chunk(3)) == (
        f"vtag 0x1234 [DATA (UBE) TSN 1 SID 2 SSEQ 3 PPID 0x2e]{TRUNCATED}"
    )


def test_length_zero_ends() -> None:
    assert text(chunk(11, length=0)) == f"vtag 0x1234 [COOKIE_ACK]{TRUNCATED}"
