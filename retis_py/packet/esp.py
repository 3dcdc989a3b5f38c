"""The IP Encapsulating Security Payload (RFC 4303)."""

from struct import Struct

from retis_py.packet.layer import TRUNCATED

_HEADER = Struct("!II").unpack_from


def esp(data: bytes, pos: int, end: int, out: list[str]) -> None:
    """Read the header; what is behind it is encrypted."""
    if end - pos < 8:
        out.append(TRUNCATED)
        return
    spi, sequence = _HEADER(data, pos)
    out.append(f" spi 0x{spi:08x} seq 0x{sequence:x}")
