"""VXLAN (RFC 7348)."""

from struct import Struct

from retis_py.packet.layer import ETHERNET, TRUNCATED, Next

_HEADER = Struct("!B3xI").unpack_from


def vxlan(data: bytes, pos: int, end: int, out: list[str]) -> Next:
    """Read the header; an Ethernet frame follows."""
    if end - pos < 8:
        out.append(TRUNCATED)
        return None
    flags, identifier = _HEADER(data, pos)
    out.append(f" vxlan [{'I' if flags & 8 else ''}] vni 0x{identifier >> 8:x} ")
    return ETHERNET, pos + 8, end
