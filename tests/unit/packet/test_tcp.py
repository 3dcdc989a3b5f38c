import pytest

from interop.packet_builders import ethernet, ipv4, tcp
from retis_py.packet import packet_text


def text(segment: bytes) -> str:
    packet = ethernet(ipv4(segment))
    return packet_text(packet, len(packet)).partition("proto TCP (6) ")[2]


def test_sequence_range_wraps() -> None:
    segment = tcp(bytes(10), sequence=0xFFFFFFFA)
    assert text(segment) == "flags [P.] seq 4294967290:4 ack 5 win 500"


def test_no_acknowledgement_without_the_flag() -> None:
    assert text(tcp(flags=0x1C2)) == "flags [SEWe] seq 100 win 500"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (
            "020405b4 0402080a0000000500000006 01030307",
            "mss 1460,sackOK,TS val 5 ecr 6,nop,wscale 7",
        ),
        ("0101080a0000000500000006", "nop,nop,TS val 5 ecr 6"),
        ("0101050a0000000100000002", "nop,nop,sack 1 {1:2}"),
        ("05080000", "sack invalid"),
        ("22040102", "tfo cookie 0x010x02"),
        ("22060102", "tfo cookie 0x010x02????"),
        ("22020100", "tfo cookiereq,nop,eol"),
        ("fd04f989", "?"),
        ("0101010b", "nop,nop,nop,cc"),
    ],
)
def test_options(options: str, shown: str) -> None:
    assert text(tcp(options=bytes.fromhex(options))).endswith(f" win 500 [{shown}]")
