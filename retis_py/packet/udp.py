"""UDP (RFC 768) and the tunnels told by its destination port."""

from struct import Struct

from retis_py.packet.geneve import geneve
from retis_py.packet.layer import TRUNCATED, Next
from retis_py.packet.vxlan import vxlan

_HEADER = Struct("!2xHH").unpack_from


def udp(data: bytes, pos: int, end: int, out: list[str]) -> Next:
    """Read the header. Port 8472 is that of VXLAN in Linux before it had one of its own."""
    if end - pos < 8:
        out.append(TRUNCATED)
        return None
    port, length = _HEADER(data, pos)
    out.append(f" len {length - 8 if length > 8 else 0}")
    if port in (4789, 8472):
        return vxlan(data, pos + 8, end, out)
    if port == 6081:
        return geneve(data, pos + 8, end, out)
    return None
