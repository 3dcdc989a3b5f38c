"""Packets that our offline filter takes are those that ``tcpdump -r FILE EXPRESSION`` keeps."""

import pickle
import shutil
import struct
import subprocess
import weakref
from itertools import islice
from threading import Thread

import pytest

from interop.packet_builders import ethernet, ipv4, samples, tcp
from interop.packet_strategies import repeatable
from interop.test_packet_filter import BOTH, ETHERNET_ONLY, all_packets, captured
from retis_py.errors import UsageError
from retis_py.filters import packet
from retis_py.filters.offline import OfflineFilter

Captured = list[tuple[bytes, int]]  # bytes, length on the wire

PACKETS: Captured = [
    *captured(list(islice(all_packets(), 1000)), repeatable(5)).packets,
    # A snap length cuts them where it likes.
    *((frame[:cut], len(frame)) for frame in samples().values() for cut in (1, 14, 20, 34, 40)),
]


def tcpdump(packets: Captured, expression: str) -> list[int]:
    """Numbers of the packets that tcpdump copies, which travel in their timestamps."""
    file = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
    for number, (data, length) in enumerate(packets):
        file += struct.pack("<IIII", number, 0, len(data), length) + data
    command = ["tcpdump", "-r", "-", "-w", "-", "--", expression]
    copy = subprocess.run(command, input=file, capture_output=True, check=True, timeout=60).stdout
    found, at = [], 24
    while at < len(copy):
        number, _, size, _ = struct.unpack_from("<IIII", copy, at)
        found.append(number)
        at += 16 + size
    return found


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="no tcpdump")
@pytest.mark.parametrize("expression", [*BOTH, *ETHERNET_ONLY, ""])
def test_as_tcpdump(expression: str) -> None:
    offline = OfflineFilter(expression)
    ours = [i for i, (data, length) in enumerate(PACKETS) if offline.matches(data, length)]
    assert ours == tcpdump(PACKETS, expression)


def test_the_packets_are_worth_it() -> None:
    """Most expressions take some packets and leave some."""
    filters = [OfflineFilter(expression) for expression in (*BOTH, *ETHERNET_ONLY)]
    counts = [sum(offline.matches(*each) for each in PACKETS) for offline in filters]
    decided = [count for count in counts if 0 < count < len(PACKETS)]
    assert len(decided) > 0.85 * len(counts)


def test_real_length_and_captured_bytes() -> None:
    frame = ethernet(ipv4(tcp(b"data")))
    assert OfflineFilter("len > 1000").matches(frame, 1001)
    assert not OfflineFilter("len > 1000").matches(frame, 1000)
    assert OfflineFilter("tcp port 80").matches(frame[:38], 1000)
    assert not OfflineFilter("tcp port 80").matches(frame[:37], 1000)
    assert not OfflineFilter("not tcp port 80").matches(frame[:37], 1000)
    assert OfflineFilter("").matches(b"", 0)
    assert not OfflineFilter("ip").matches(b"", 0)
    assert OfflineFilter("len = 4294967295").matches(frame, 2**32 - 1)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("tcp prot 80", "syntax error"),
        ("port 99999", "illegal port number"),
        ("host no.such.host.invalid", "unknown host"),
        ("ip broadcast", "netmask not known"),
        ("tcp\0", "a NUL character cannot be in an expression"),
        ("\x1b[31m", "."),
        ("\udc80", "."),
    ],
)
def test_refused(expression: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        OfflineFilter(expression)
    assert str(caught.value).startswith("--filter-packet: ")
    assert "\n" not in str(caught.value)


def test_an_expression_that_takes_libpcap_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet, "MAX_SECONDS", 0.05)
    with pytest.raises(UsageError, match=r"did not compile the expression within 0.05 s"):
        OfflineFilter(" or ".join(f"port {i}" for i in range(1, 400)))


def test_to_another_process() -> None:
    matches = pickle.loads(pickle.dumps(OfflineFilter("tcp").matches))  # noqa: S301 (ours)
    frame = ethernet(ipv4(tcp()))
    assert matches(frame, len(frame))


def test_many_threads() -> None:
    offline = OfflineFilter("tcp port 80 or udp port 53")
    expected = [offline.matches(*each) for each in PACKETS]
    found: list[list[bool]] = []
    threads = [
        Thread(target=lambda: found.append([offline.matches(*each) for each in PACKETS]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_the_program_goes_with_its_filter() -> None:
    offline = OfflineFilter("tcp")
    program = weakref.ref(offline._program)
    assert program() is not None
    del offline
    assert program() is None
