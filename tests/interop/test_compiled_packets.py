"""Packets that the compiled part words: their text is Python's, and no usual one is left to it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop.compiled_comparison import (
    FORMATS,
    UNSORTED,
    packet_line,
    packet_lines,
    python_alone,
)
from interop.packet_builders import ethernet, ipv4, ipv6, samples, tcp, udp
from interop.packet_strategies import frames, repeatable, variants
from retis_py import compiled
from retis_py.events.text import TextFormat
from retis_py.process.line_text import LineText

pytestmark = pytest.mark.skipif(
    compiled.library is None, reason=f"the compiled part {compiled.WHY_NOT}"
)

TIMES = bytes.fromhex("0101080a 00000005 ffffffff")
PING = bytes.fromhex("0800000000010002")
USUAL = {
    "tcp": ethernet(ipv4(tcp(b"data", flags=0x1FF))),
    "tcp-times": ethernet(ipv4(tcp(b"data", options=TIMES))),
    "tcp-empty": ethernet(ipv4(tcp(flags=2))),
    "udp": ethernet(ipv4(udp(b"data"), 17, tos=0xBA)),
    "udp-length": ethernet(ipv4(udp(b"data", length=7), 17)),
    "icmp": ethernet(ipv4(PING, 1)),
    "ipv6-tcp": ethernet(ipv6(tcp(b"data", options=TIMES)), 0x86DD),
    "ipv6-udp": ethernet(ipv6(udp(b"data"), 17), 0x86DD),
    "ipv6-icmp": ethernet(ipv6(PING, 58), 0x86DD),
}


def compare(lines: list[bytes], fmt: TextFormat) -> None:
    """Word all lines, each in a piece of its own, so that one does not decide about another."""
    ours = LineText(UNSORTED, fmt)
    with python_alone():
        theirs = LineText(UNSORTED, fmt)
        expected = [theirs(line + b"\n") for line in lines]
    for line, each in zip(lines, expected, strict=True):
        assert ours(line + b"\n") == each, line


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(drawn=st.lists(frames(), min_size=3, max_size=6), seed=st.integers(0))
def test_packets(drawn: list[bytes], seed: int) -> None:
    random = repeatable(seed)
    packets = [each for frame in drawn for each in (frame, *variants(frame, random))]
    compare([packet_line(packet) for packet in packets], random.choice(FORMATS))


@pytest.mark.parametrize("seed", range(len(FORMATS)))
def test_all_kinds(seed: int) -> None:
    compare(packet_lines(repeatable(seed), 40), FORMATS[seed])


@pytest.mark.parametrize("packets", [samples(), USUAL])
def test_every_cut(packets: dict[str, bytes]) -> None:
    lines = [packet_line(each[:end]) for each in packets.values() for end in range(len(each) + 1)]
    compare(lines, FORMATS[-1])


@pytest.mark.parametrize("name", USUAL)
def test_usual_packets_are_not_left_to_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All comparisons would hold as well if C did nothing."""

    def unexpected(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(LineText, "_packet_text", unexpected)
    piece = packet_line(USUAL[name]) + b"\n"
    assert LineText(UNSORTED, TextFormat())(piece).lines == 1
