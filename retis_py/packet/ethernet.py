"""Ethernet II and VLAN tags (IEEE 802.3, 802.1Q)."""

from struct import Struct

from retis_py.packet.layer import TRUNCATED, Next

_U16 = Struct("!H").unpack_from
_TAG = Struct("!HH").unpack_from

_VLAN = frozenset((0x8100, 0x88A8, 0x9100))

_NAMES = {
    0x0800: "IPv4",
    0x0806: "ARP",
    0x6558: "TEB",
    0x8035: "Reverse ARP",
    0x809B: "Appletalk",
    0x80F3: "Appletalk ARP",
    0x8100: "802.1Q",
    0x86DD: "IPv6",
    0x880B: "PPP",
    0x8847: "MPLS unicast",
    0x8848: "MPLS multicast",
    0x8863: "PPPoE D",
    0x8864: "PPPoE S",
    0x888E: "EAPOL",
    0x88A8: "802.1Q-QinQ",
    0x88E5: "802.1AE MACsec",
    0x88F7: "PTP",
    0x9100: "802.1Q-9100",
}


def ethertype_text(ethertype: int) -> str:
    """Return ``ethertype NAME (0x0800)``, without the name where it has none."""
    name = _NAMES.get(ethertype)
    if name is None:
        return f"ethertype (0x{ethertype:04x})"
    return f"ethertype {name} (0x{ethertype:04x})"


def ethernet(data: bytes, pos: int, end: int, out: list[str], link_layer: bool) -> Next:
    """Read the header and the VLAN tags behind it."""
    if end - pos < 14:
        out.append(TRUNCATED)
        return None
    if link_layer:
        source = data[pos + 6 : pos + 12].hex(":")
        out.append(f"{source} > {data[pos : pos + 6].hex(':')} ")
    return tagged(data, pos + 12, end, out, link_layer)


def tagged(data: bytes, pos: int, end: int, out: list[str], link_layer: bool) -> Next:
    """Read the ethertype at ``pos`` and, while it announces a VLAN tag, the tag behind it.

    At least the two bytes of the ethertype must be there.
    """
    (ethertype,) = _U16(data, pos)
    pos += 2
    if link_layer:
        out.append(ethertype_text(ethertype))
    while ethertype in _VLAN:
        if end - pos < 4:
            out.append(TRUNCATED)
            return None
        control, ethertype = _TAG(data, pos)
        pos += 4
        if link_layer:
            drop_eligible = " DEI" if control & 0x1000 else ""
            out.append(
                f" vlan {control & 0xFFF} p {control >> 13}{drop_eligible}"
                f" {ethertype_text(ethertype)}"
            )
    if link_layer:
        out.append(" ")
    return ethertype, pos, end
