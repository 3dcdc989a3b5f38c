"""ARP and RARP over Ethernet and IPv4 (RFC 826, RFC 903)."""

from socket import inet_ntoa
from struct import Struct

from retis_py.packet.layer import TRUNCATED, unsupported

_ARP = Struct("!6xH6s4s6s4s").unpack_from


def arp(data: bytes, pos: int, end: int, out: list[str]) -> None:
    """Read a message; addresses are taken to be of 6 and 4 bytes, whatever it says of them."""
    if end - pos < 28:
        out.append(TRUNCATED)
        return
    operation, sender_mac, sender_ip, target_mac, target_ip = _ARP(data, pos)
    if operation == 1:
        known = f" ({target_mac.hex(':')})" if any(target_mac) else ""
        out.append(f"request who-has {inet_ntoa(target_ip)}{known} tell {inet_ntoa(sender_ip)}")
    elif operation == 2:
        out.append(f"reply {inet_ntoa(sender_ip)} is-at {sender_mac.hex(':')}")
    elif operation == 3:
        out.append(f"reverse request who-is {target_mac.hex(':')} tell {sender_mac.hex(':')}")
    elif operation == 4:
        out.append(f"reverse reply {target_mac.hex(':')} at {inet_ntoa(target_ip)}")
    else:
        out.append(unsupported(f"ARP operation {operation}"))
