"""Section ``dev``: the network device."""

from typing import TYPE_CHECKING

from retis_py.events.escape import escape
from retis_py.events.sections.base import U32, Section
from retis_py.events.wire import Wire, text

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Dev(Section):
    """Name and index, and where the packet came in."""

    name: str  # net_device.name
    ifindex: U32  # net_device.ifindex
    rx_ifindex: U32 | None = None  # sk_buff.skb_iif, absent when 0

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``if IFINDEX [(NAME)] [rxif IFINDEX]``."""
        text = f"if {self.ifindex}"
        if self.name:
            text += f" ({escape(self.name)})"
        return text if self.rx_ifindex is None else f"{text} rxif {self.rx_ifindex}"


WIRE = Wire("dev", "char name[16]; u32 ifindex; u32 rx_ifindex")


def from_wire(name: bytes, ifindex: int, rx_ifindex: int) -> Dev:
    """Build the section from its part."""
    return Dev(text(name), ifindex, rx_ifindex or None)
