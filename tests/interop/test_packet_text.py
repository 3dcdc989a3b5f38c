"""Our text of a packet equals that of the reference reader, character for character."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop.packet_builders import ethernet, geneve, ipv4, ipv6, samples, sctp, tcp
from interop.packet_strategies import EXTENSIONS, frames, repeatable, variants
from interop.panics import quiet_stderr
from retis_py.packet import packet_text

retis = pytest.importorskip("retis")

STARTUP = {
    "common": {"timestamp": 1},
    "startup": {
        "retis_version": "v1.7.0",
        "cmdline": "test",
        "clock_monotonic_offset": {"sec": 1, "nsec": 0},
        "machine": {"kernel_release": "r", "kernel_version": "v", "hardware_name": "h"},
    },
}
TRUNCATED = "... (truncated or incomplete packet)"


def reference_texts(path: Path, packets: Iterable[bytes]) -> list[str | None]:
    """The reference's packet lines; None where it panics. ``path`` is a file to overwrite."""
    events = [STARTUP]
    for packet in packets:
        length = {"len": len(packet), "capture_len": len(packet)}
        data = base64.b64encode(packet).decode()
        events.append({"common": {"timestamp": 1}, "packet": length | {"data": data}})
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    texts: list[str | None] = []
    with quiet_stderr():
        reader = retis.EventFile(str(path)).events()
        next(reader)
        for event in reader:
            try:
                texts.append(str(event).removeprefix("1\n  "))
            except BaseException as error:
                if type(error).__name__ != "PanicException":
                    raise
                texts.append(None)
    return texts


def assert_same(path: Path, packets: Iterable[bytes]) -> int:
    """Compare all; return how many the reference panicked on."""
    packets = list(packets)
    reference = reference_texts(path, packets)
    assert len(reference) == len(packets)
    for packet, theirs in zip(packets, reference, strict=True):
        ours = packet_text(packet, len(packet))
        assert ours.isascii()
        assert ours.isprintable()
        if theirs is None:
            assert ours.endswith(TRUNCATED), packet.hex()
        else:
            assert ours == theirs, packet.hex()
    return reference.count(None)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reference") / "events.json"


@settings(
    max_examples=500,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(packet=frames(), seed=st.integers(0, 1 << 32))
def test_generated_whole_and_damaged(events: Path, packet: bytes, seed: int) -> None:
    assert_same(events, [packet, *variants(packet, repeatable(seed))])


@pytest.mark.parametrize("name", samples())
def test_cut_at_every_length(events: Path, name: str) -> None:
    packet = samples()[name]
    assert_same(events, (packet[:length] for length in range(len(packet) + 1)))


@pytest.mark.parametrize("name", samples())
def test_damaged_samples(events: Path, name: str) -> None:
    assert_same(events, variants(samples()[name], repeatable(name), 150))


def test_random_bytes(events: Path) -> None:
    random = repeatable(1)
    assert_same(events, (random.randbytes(random.randint(0, 80)) for _ in range(500)))


@pytest.mark.parametrize("ethertype", [0x0800, 0x86DD, 0x0806, 0x88E5, 0x8100])
def test_random_bytes_under_an_ethertype(events: Path, ethertype: int) -> None:
    random = repeatable(ethertype)
    bodies = (random.randbytes(random.randint(0, 120)) for _ in range(500))
    assert_same(events, (ethernet(body, ethertype) for body in bodies))


#: Bytes that mean something as an option's or chunk's kind, length or flags.
TELLING = (*range(16), 18, 19, 20, 24, 28, 29, 30, 34, 68, 130, 131, 148, 192, 254, 255)


def test_random_tcp_options(events: Path) -> None:
    random = repeatable(2)
    options = (bytes(random.choices(TELLING, k=4 * random.randint(1, 10))) for _ in range(4000))
    assert_same(events, (ethernet(ipv4(tcp(b"data", options=each))) for each in options))


def test_random_ipv4_options(events: Path) -> None:
    random = repeatable(3)
    options = (bytes(random.choices(TELLING, k=4 * random.randint(1, 10))) for _ in range(1000))
    assert_same(events, (ethernet(ipv4(tcp(b"data"), options=each)) for each in options))


def test_random_sctp_chunks(events: Path) -> None:
    random = repeatable(4)
    chunks = (bytes(random.choices((0, 0, *TELLING), k=random.randint(0, 60))) for _ in range(3000))
    assert_same(events, (ethernet(ipv4(sctp(each), 132)) for each in chunks))


def test_random_geneve_options(events: Path) -> None:
    random = repeatable(5)
    options = (bytes(random.choices(TELLING, k=4 * random.randint(1, 10))) for _ in range(1000))
    assert_same(events, (ethernet(ipv4(geneve(b"", options=each), 17)) for each in options))


def test_random_ipv6_extensions(events: Path) -> None:
    random = repeatable(6)
    numbers = (0, 43, 44, 50, 51, 60, 135, 0, 1, 2, 3, 6, 17, 59, 255)
    bodies = (bytes(random.choices(numbers, k=random.randint(0, 80))) for _ in range(2000))
    assert_same(
        events, (ethernet(ipv6(body, random.choice(EXTENSIONS)), 0x86DD) for body in bodies)
    )


def test_every_protocol_number(events: Path) -> None:
    body = bytes(range(1, 60))
    assert_same(events, (ethernet(ipv4(body, number)) for number in range(256)))
    assert_same(events, (ethernet(ipv6(body, number), 0x86DD) for number in range(256)))


def test_every_tcp_option(events: Path) -> None:
    for length in (0, 1, 2, 3, 4, 6, 8, 10, 11, 16, 18, 40, 255):
        bodies = (bytes((kind, length)) + bytes(range(14)) for kind in range(256))
        assert_same(events, (ethernet(ipv4(tcp(options=body))) for body in bodies))


def test_panics_of_the_reference_read_as_truncated(events: Path) -> None:
    packet = samples()["extensions"]
    assert assert_same(events, [packet[:length] for length in range(56, 62)]) == 6
