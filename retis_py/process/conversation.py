"""Between which two addresses a packet travels."""

from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import TypeAlias

Conversation: TypeAlias = tuple[bytes, bytes]
"""Two addresses, the lower first, whatever the direction: of IPv4, IPv6, or else of Ethernet."""

_U16 = Struct("!H").unpack_from
_VLAN = frozenset((0x8100, 0x88A8, 0x9100))
_IPV4, _IPV6 = 0x0800, 0x86DD


def conversation(frame: bytes) -> Conversation | None:
    """Return the addresses of a frame; None where not even those of Ethernet are there.

    Those of the outermost IP header are taken, behind any VLAN tags. A frame that is not IP, or
    is cut before the addresses, counts by its Ethernet addresses.
    """
    if len(frame) < 14:
        return None
    pos = 14
    (ethertype,) = _U16(frame, 12)
    while ethertype in _VLAN and len(frame) >= pos + 4:
        (ethertype,) = _U16(frame, pos + 2)
        pos += 4
    if ethertype == _IPV4 and len(frame) >= pos + 20:
        source, target = frame[pos + 12 : pos + 16], frame[pos + 16 : pos + 20]
    elif ethertype == _IPV6 and len(frame) >= pos + 40:
        source, target = frame[pos + 8 : pos + 24], frame[pos + 24 : pos + 40]
    else:
        source, target = frame[6:12], frame[:6]
    return (source, target) if source <= target else (target, source)


def address_text(address: bytes) -> str:
    """Return ``10.0.0.1``, ``2001:db8::1`` or ``02:00:00:00:00:01``."""
    if len(address) == 6:
        return address.hex(":")
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)
