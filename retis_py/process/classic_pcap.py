"""Packets as a classic pcap file, for tools that do not read pcapng, through python-libpcap.

Its writer gives each packet the current second. What it has beside is ``mpcap``, which copies
packets from capture files that libpcap can read, times and lengths and all; so they are handed to
it as pcapng. libpcap writes microseconds.
"""

from pathlib import Path

from retis_py.errors import MissingPackage, RetisError

_FILE_HEADER = 24  # bytes, struct pcap_file_header
_PACKET_HEADER = 16


def require_libpcap() -> None:
    """Raise MissingPackage where python-libpcap is not installed."""
    try:
        import pylibpcap.pcap  # noqa: F401, PLC0415
    except ImportError as error:
        message = (
            "--classic needs the Python package 'python-libpcap', which cannot be imported"
            f" ({error}): 'pip install python-libpcap' builds it (with a C compiler and"
            " libpcap-dev), or leave --classic out"
        )
        raise MissingPackage(message) from None


def copy_as_classic(source: Path, target: Path, packets: int, data_size: int) -> None:
    """Make ``target``, which is not there yet, a pcap file of the packets in ``source``.

    ``packets`` and ``data_size`` are how many packets and captured bytes there are: libpcap does
    not say when it could not read or write all.

    Raises:
        MissingPackage: python-libpcap is not installed.
        RetisError: not all was copied.
    """
    require_libpcap()
    from pylibpcap.exception import (  # noqa: PLC0415
        LibpcapError,
    )
    from pylibpcap.pcap import mpcap  # noqa: PLC0415

    try:
        mpcap(str(source), str(target))
    except (LibpcapError, OSError) as error:
        raise RetisError(f"libpcap cannot make a classic pcap file: {error}") from None
    expected = _FILE_HEADER + packets * _PACKET_HEADER + data_size
    size = target.stat().st_size
    if size != expected:
        message = (
            f"libpcap wrote {size} of {expected} bytes of the classic pcap file to {target.parent};"
            " is there room? TMPDIR names another folder"
        )
        raise RetisError(message)
