"""The IP Authentication Header (RFC 4302)."""

from struct import Struct

from retis_py.packet.layer import TRUNCATED

_HEADER = Struct("!BBxxII").unpack_from


def ah(data: bytes, pos: int, end: int, out: list[str]) -> tuple[int, int, int] | None:
    """Read the header; return the next protocol and the header's size in bytes, twice.

    The first size is what to step over, never less than the fixed part; the second is what the
    header says of itself, by which the upper layer's length shrinks.
    """
    if end - pos < 12:
        out.append(TRUNCATED)
        return None
    protocol, words, spi, sequence = _HEADER(data, pos)
    stated = (words + 2) * 4
    size = max(stated, 12)
    check_value = data[pos + 12 : min(pos + size, end)].hex()
    out.append(f" spi 0x{spi:08x} seq 0x{sequence:x} icv 0x{check_value}")
    return protocol, size, stated
