"""From one layer to the next, beginning at the link layer."""

from retis_py.packet.arp import arp
from retis_py.packet.ethernet import ethernet
from retis_py.packet.ipv4 import ipv4
from retis_py.packet.ipv6 import ipv6
from retis_py.packet.layer import ETHERNET, Next, unsupported
from retis_py.packet.macsec import macsec


def packet_text(
    data: bytes,
    wire_len: int,  # noqa: ARG001 -- no layer tells it: IP has lengths of its own
    *,
    link_layer: bool = False,
) -> str:
    """Return the packet as one line of printable ASCII.

    ``data`` holds the captured bytes from the Ethernet header on and may end anywhere;
    ``wire_len`` is the packet's length in bytes before it was cut. ``link_layer`` adds MAC
    addresses, ethertypes, VLAN tags and the MACsec tag (``-e``). Never raises, whatever the bytes.
    """
    out: list[str] = []
    following: Next = (ETHERNET, 0, len(data))
    while following is not None:
        kind, pos, end = following
        if kind == ETHERNET:
            following = ethernet(data, pos, end, out, link_layer)
        elif kind == 0x0800:
            following = ipv4(data, pos, end, out)
        elif kind == 0x86DD:
            following = ipv6(data, pos, end, out)
        elif kind == 0x0806:
            arp(data, pos, end, out)
            break
        elif kind == 0x88E5:
            following = macsec(data, pos, end, out, link_layer)
        else:
            out.append(unsupported(f"ethertype 0x{kind:04x}"))
            break
    return "".join(out)
