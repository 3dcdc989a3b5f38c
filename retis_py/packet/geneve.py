"""Geneve (RFC 8926)."""

from struct import Struct

from retis_py.packet.layer import ETHERNET, TRUNCATED, Next

_HEADER = Struct("!BBHI").unpack_from
_OPTION = Struct("!HBB").unpack_from

_FLAGS = ("", "C", "O", "OC")
_TRANSPARENT_ETHERNET_BRIDGING = 0x6558


def geneve(data: bytes, pos: int, end: int, out: list[str]) -> Next:
    """Read the header and its options."""
    if end - pos < 8:
        out.append(TRUNCATED)
        return None
    words, flags, ethertype, identifier = _HEADER(data, pos)
    pos += 8
    out.append(f" geneve [{_FLAGS[flags >> 6]}] vni 0x{identifier >> 8:x} ")
    size = (words & 0x3F) * 4
    if size:
        out.append(_options(data, pos, min(pos + size, end)))
    kind = ETHERNET if ethertype == _TRANSPARENT_ETHERNET_BRIDGING else ethertype
    return kind, pos + size, end


def _options(data: bytes, pos: int, end: int) -> str:
    options = []
    while end - pos >= 4:
        klass, kind, words = _OPTION(data, pos)
        size = (words & 0x1F) * 4
        critical = "(C)" if kind & 0x80 else ""
        options.append(f"class 0x{klass:x} type 0x{kind:x}{critical} len {size}")
        pos += 4 + size
    return f"[{','.join(options)}] "
