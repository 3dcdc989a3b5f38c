"""IPv4 and its options (RFC 791)."""

from socket import inet_ntoa
from struct import Struct

from retis_py.packet.layer import TRUNCATED, Next
from retis_py.packet.transport import ECN, PORTS, PORTS_NEED, transport

_HEADER = Struct("!BBHHHBB2x4s4s").unpack_from

#: By the three flag bits. The names of the outer two are swapped in retis, and so they are here:
#: the text is compared with that of retis.
_FLAGS = tuple(
    f" [{','.join(name for bit, name in ((4, '+'), (2, 'DF'), (1, 'rsvd')) if flags & bit)}]"
    if flags
    else ""
    for flags in range(8)
)


def ipv4(data: bytes, pos: int, end: int, out: list[str]) -> Next:
    """Read the header. Fragments other than the first are read as if they held a header too."""
    if end - pos < 20:
        out.append(TRUNCATED)
        return None
    words, tos, total, ident, fragment, ttl, protocol, source, target = _HEADER(data, pos)
    header = (words & 15) * 4
    start = pos + header if header > 20 else pos + 20
    length = total - header if total > header else 0

    options = _options(data, pos + 20, min(start, end)) if header > 20 else ""
    end = min(end, start + length)
    if end - start >= PORTS_NEED[protocol]:
        source_port, target_port = PORTS(data, start)
        addresses = f"{inet_ntoa(source)}.{source_port} > {inet_ntoa(target)}.{target_port}"
    else:
        addresses = f"{inet_ntoa(source)} > {inet_ntoa(target)}"
    out.append(
        f"{addresses} tos 0x{tos >> 2:x}{ECN[tos & 3]} ttl {ttl} id {ident}"
        f" off {(fragment & 0x1FFF) * 8}{_FLAGS[fragment >> 13]}"
        f"{f' len {total}' if total else ''}{options}"
    )
    return transport(data, start, end, protocol, out, length=length)


def _options(data: bytes, pos: int, end: int) -> str:
    """Return the numbers of the options; a list that begins with its end has none."""
    numbers: list[str] = []
    while pos < end:
        number = data[pos] & 31
        if number == 0:
            if numbers:
                numbers.append("Ipv4OptionNumber(0)")
            break
        numbers.append(f"Ipv4OptionNumber({number})")
        if number == 1:
            pos += 1
        else:
            pos += max(data[pos + 1], 2) if pos + 1 < end else 2
    return f" opts [{','.join(numbers)}]" if numbers else ""
