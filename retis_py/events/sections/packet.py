"""Section ``packet``: the first bytes of the packet."""

from typing import TYPE_CHECKING

from retis_py.events.sections.base import U32, Section
from retis_py.events.wire import Wire
from retis_py.packet import packet_text

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Packet(Section):
    """Bytes from the link-layer header on; base64 in JSON."""

    len: U32  # bytes on the wire, from the link-layer header on
    capture_len: U32  # bytes captured, the length of ``data``
    data: bytes

    def text(self, fmt: "TextFormat") -> str:
        """One line in tcpdump's habit."""
        return packet_text(self.data, self.len, link_layer=fmt.link_layer)


# The bytes themselves stand at the end of the raw event.
WIRE = Wire("packet", "u32 len")


def from_wire(length: int) -> Packet:
    """Build the section from its part, without the bytes."""
    return Packet(length, 0, b"")
