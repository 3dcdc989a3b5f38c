"""IPv6 and its extension headers (RFC 8200)."""

from functools import lru_cache
from socket import AF_INET6, inet_ntop
from struct import Struct

from retis_py.packet.layer import TRUNCATED, Next
from retis_py.packet.transport import ECN, PORTS, PORTS_NEED, transport

_HEADER = Struct("!IHBB16s16s").unpack_from

_EXTENSIONS = {
    0: "Hopopt",
    43: "Ipv6Route",
    44: "Ipv6Frag",
    50: "Esp",
    51: "Ah",
    60: "Ipv6Opts",
    135: "MobilityHeader",
    139: "Hip",
    140: "Shim6",
    253: "Test1",
    254: "Test2",
}
_NO_NEXT_HEADER = 59


def ipv6(data: bytes, pos: int, end: int, out: list[str]) -> Next:
    """Read the header and step over the extension headers."""
    if end - pos < 40:
        out.append(TRUNCATED)
        return None
    word, length, protocol, hops, source, target = _HEADER(data, pos)
    pos += 40
    end = min(end, pos + length)
    if end - pos >= PORTS_NEED[protocol]:
        source_port, target_port = PORTS(data, pos)
        addresses = f"{_address(source)}.{source_port} > {_address(target)}.{target_port}"
    else:
        addresses = f"{_address(source)} > {_address(target)}"
    out.append(
        f"{addresses}{ECN[(word >> 20) & 3]} ttl {hops} label 0x{word & 0xFFFFF:x}"
        f"{f' len {length}' if length else ''}"
    )
    if protocol == _NO_NEXT_HEADER:
        return None
    if protocol in _EXTENSIONS:
        return _extensions(data, pos, end, protocol, out, length=length)
    return transport(data, pos, end, protocol, out, length=length)


def _extensions(
    data: bytes, pos: int, end: int, protocol: int, out: list[str], *, length: int
) -> Next:
    """Name the extension headers and read what comes behind them.

    All are stepped over by the common rule, 8 bytes and 8 more per unit of length, even those
    that have rules of their own (fragment, AH, ESP): retis does.
    """
    names = []
    while protocol in _EXTENSIONS and end - pos >= 2:
        names.append(_EXTENSIONS[protocol])
        size = 8 + 8 * data[pos + 1]
        if size > end - pos:
            out.append(f" exts [{','.join(names)}]{TRUNCATED}")
            return None
        protocol = data[pos]
        pos += size
        length -= size
    if names:
        out.append(f" exts [{','.join(names)}]")
    return transport(data, pos, end, protocol, out, length=length)


@lru_cache(4096)
def _address(raw: bytes) -> str:
    if raw.startswith(bytes(12)):
        # inet_ntop() writes these as ::1.2.3.4 (glibc), a form long deprecated (RFC 4291 2.5.5.1).
        high, low = int.from_bytes(raw[12:14]), int.from_bytes(raw[14:])
        if high:
            return f"::{high:x}:{low:x}"
        return f"::{low:x}" if low else "::"
    return inet_ntop(AF_INET6, raw)
