"""Classic pcap through libpcap: what fails is said, and said once."""

from pathlib import Path

import pytest

from retis_py.errors import RetisError
from retis_py.process.classic_pcap import copy_as_classic
from retis_py.process.event_probe import EventProbe
from retis_py.process.pcapng import PcapngWriter


@pytest.fixture
def pcapng(tmp_path: Path) -> Path:
    """A capture without packets."""
    path = tmp_path / "packets.pcapng"
    with path.open("wb") as file:
        writer = PcapngWriter(file.write, annotate=False)
        writer.interface(EventProbe("kprobe", "ip_rcv"))
        writer.finish()
    return path


def test_no_packets(pcapng: Path, tmp_path: Path) -> None:
    copy_as_classic(pcapng, tmp_path / "out", packets=0, data_size=0)
    assert (tmp_path / "out").stat().st_size == 24


def test_packets_that_do_not_arrive(pcapng: Path, tmp_path: Path) -> None:
    with pytest.raises(RetisError, match=r"^libpcap wrote 24 of 50 bytes of the classic pcap file"):
        copy_as_classic(pcapng, tmp_path / "out", packets=1, data_size=10)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x0a\x0d\x0d\x0a"])
def test_what_libpcap_refuses(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").write_bytes(content)
    with pytest.raises(RetisError, match=r"^libpcap cannot make a classic pcap file: \S") as caught:
        copy_as_classic(tmp_path / "source", tmp_path / "out", packets=0, data_size=0)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
