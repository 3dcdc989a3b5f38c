"""Packets taken apart with struct and ipaddress alone, to check what retis captured."""

import struct
from dataclasses import dataclass
from ipaddress import ip_address

ETH_HEADER = 14
IPV4, IPV6, VLAN = 0x0800, 0x86DD, 0x8100
ICMP, TCP, UDP = 1, 6, 17
ECHO_REPLY, ECHO_REQUEST = 0, 8  # RFC 792


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame with IP in it; ``payload`` follows the IP header (no options)."""

    source_mac: str
    destination_mac: str
    ethertype: int
    source: str
    destination: str
    protocol: int
    tos: int
    ip_length: int  # all of the IP packet, bytes
    payload: bytes

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination of TCP or UDP."""
        source, destination = struct.unpack_from("!HH", self.payload)
        return source, destination


def parse(data: bytes) -> Frame:
    """Take a frame apart; it must be IPv4 or IPv6 without options or extensions."""
    destination_mac, source_mac = (data[at : at + 6].hex(":") for at in (0, 6))
    (ethertype,) = struct.unpack_from("!H", data, 12)
    ip = data[ETH_HEADER:]
    if ethertype == IPV4:
        assert ip[0] == 0x45, f"IPv4 with options or cut short: {ip[:20].hex()}"
        (length,) = struct.unpack_from("!H", ip, 2)
        tos, protocol, header = ip[1], ip[9], 20
        source, destination = ip[12:16], ip[16:20]
    else:
        assert ethertype == IPV6, f"ethertype {ethertype:#06x}"
        (first, length) = struct.unpack_from("!IH", ip)
        tos, length, protocol, header = first >> 20 & 0xFF, length + 40, ip[6], 40
        source, destination = ip[8:24], ip[24:40]
    return Frame(
        source_mac,
        destination_mac,
        ethertype,
        str(ip_address(source)),
        str(ip_address(destination)),
        protocol,
        tos,
        length,
        ip[header:],
    )
