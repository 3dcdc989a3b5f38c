"""MACsec (IEEE 802.1AE)."""

from struct import Struct

from retis_py.packet.ethernet import tagged
from retis_py.packet.layer import TRUNCATED, Next

_SECTAG = Struct("!BBI").unpack_from

# Bits of the first byte, the tag control information; the lower two are the association number.
_END_STATION = 0x40
_SCI_PRESENT = 0x20
_SINGLE_COPY = 0x10
_ENCRYPTED = 0x08
_CHANGED = 0x04


def macsec(data: bytes, pos: int, end: int, out: list[str], link_layer: bool) -> Next:
    """Read the SecTAG. The frame behind it follows where it was sent in the clear.

    An integrity check value behind the frame needs no care: the lengths inside leave it out.
    """
    if end - pos < 6:
        out.append(TRUNCATED)
        return None
    control, short_length, packet_number = _SECTAG(data, pos)
    body = pos + (14 if control & _SCI_PRESENT else 6)
    if link_layer:
        flags = "".join(
            letter
            for bit, letter in (
                (_ENCRYPTED, "E"),
                (_CHANGED, "C"),
                (_END_STATION, "S"),
                (_SINGLE_COPY, "B"),
                (_SCI_PRESENT, "I"),
            )
            if control & bit
        )
        out.append(f"an {control & 3} pn {packet_number} flags [{flags}]")
        if short_length & 0x3F:
            out.append(f" sl {short_length & 0x3F}")
        if control & _SCI_PRESENT:
            if body > end:
                out.append(TRUNCATED)
                return None
            out.append(f" sci 0x{data[pos + 6 : body].hex()}")
    if control & (_ENCRYPTED | _CHANGED):
        if not link_layer:
            out.append("802.1AE MACsec frame")
        return None
    if end - body < 2:
        out.append(TRUNCATED)
        return None
    if link_layer:
        out.append(" ")
    return tagged(data, body, end, out, link_layer)
