"""Section ``packet``: the first bytes of the packet."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec import field

from retis_py.errors import MissingPackage
from retis_py.events.sections.base import U32, Section
from retis_py.events.wire import Wire

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class RawPacket(bytes):
    """Bytes of a packet from the link-layer header on."""

    def to_scapy(self) -> Any:
        """Return a ``scapy.layers.l2.Ether``, dissected as far as scapy can.

        Raises MissingPackage, an ImportError, where scapy is not installed.
        """
        try:
            scapy = import_module("scapy.all")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "scapy":
                raise
            message = "to_scapy() needs scapy, which is missing: 'pip install scapy' installs it"
            raise MissingPackage(message) from None
        return scapy.Ether(bytes(self))


class Packet(Section):
    """Bytes from the link-layer header on; base64 in JSON."""

    len: U32  # bytes on the wire, from the link-layer header on
    capture_len: U32  # bytes captured, the length of ``raw``
    raw: bytes = field(name="data")

    @property
    def data(self) -> RawPacket:
        """A copy of ``raw``."""
        return RawPacket(self.raw)

    @data.setter
    def data(self, raw: bytes) -> None:
        self.raw = raw

    def to_scapy(self) -> Any:
        """Return the packet as ``RawPacket.to_scapy`` does."""
        return self.data.to_scapy()

    def text(self, fmt: "TextFormat") -> str:
        """One line in tcpdump's habit."""
        from retis_py.packet import packet_text  # noqa: PLC0415 (not where events go to files)

        return packet_text(self.raw, self.len, link_layer=fmt.link_layer)


# The bytes themselves stand at the end of the raw event.
WIRE = Wire("packet", "u32 len")


def from_wire(length: int) -> Packet:
    """Build the section from its part, without the bytes."""
    return Packet(length, 0, b"")
