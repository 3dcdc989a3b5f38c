"""What IPv4 and IPv6 carry, chosen by the protocol number (IANA, Protocol Numbers)."""

from struct import Struct

from retis_py.packet.ah import ah
from retis_py.packet.esp import esp
from retis_py.packet.icmp import icmp
from retis_py.packet.layer import Next, unsupported
from retis_py.packet.sctp import sctp
from retis_py.packet.tcp import tcp
from retis_py.packet.udp import udp

_NAMES = {
    1: "ICMP",
    2: "IGMP",
    4: "IPIP",
    6: "TCP",
    17: "UDP",
    27: "RDP",
    33: "DCCP",
    41: "IPv6",
    47: "GRE",
    50: "ESP",
    51: "AH",
    58: "ICMPv6",
    89: "OSPF",
    112: "VRRP",
    115: "L2TP",
    132: "SCTP",
    143: "Ethernet",
}
_PROTO = tuple(
    f" proto {_NAMES[number]} ({number})" if number in _NAMES else f" proto ({number})"
    for number in range(256)
)

#: By the ECN bits (RFC 3168).
ECN = ("", " ECT(1)", " ECT(0)", " CE")

#: Source and destination port, which begin the headers of TCP, UDP and SCTP alike.
PORTS = Struct("!HH").unpack_from

#: By protocol: how many bytes must be there for the ports to be shown beside the addresses.
PORTS_NEED = tuple({6: 20, 17: 8, 132: 12}.get(number, 1 << 32) for number in range(256))


def transport(
    data: bytes, pos: int, end: int, protocol: int, out: list[str], *, length: int
) -> Next:
    """Read what follows the IP header; ``length`` is how many bytes IP says that it has."""
    out.append(_PROTO[protocol])
    while protocol == 51:
        header = ah(data, pos, end, out)
        if header is None:
            return None
        protocol, size, stated = header
        pos += size
        length -= stated
        out.append(_PROTO[protocol])
    if protocol == 6:
        tcp(data, pos, end, length, out)
    elif protocol == 17:
        return udp(data, pos, end, out)
    elif protocol in (1, 58):
        icmp(data, pos, end, out)
    elif protocol == 132:
        sctp(data, pos, end, length, out)
    elif protocol == 50:
        esp(data, pos, end, out)
    else:
        out.append(unsupported(f"protocol 0x{protocol:x}"))
    return None
