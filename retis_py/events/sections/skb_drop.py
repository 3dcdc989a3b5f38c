"""Section ``skb-drop``: why the kernel dropped the packet."""

from typing import TYPE_CHECKING

from retis_py.events.escape import escape
from retis_py.events.sections.base import Section
from retis_py.events.wire import Wire

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class SkbDrop(Section):
    """A drop reason (include/net/dropreason-core.h and the subsystems' own)."""

    drop_reason: str  # enum name without its prefix: "NO_SOCKET"
    subsys: str | None = None  # "openvswitch"; absent for core reasons

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``drop (reason [SUBSYS/]R)``."""
        if self.subsys is None:
            return f"drop (reason {escape(self.drop_reason)})"
        return f"drop (reason {escape(self.subsys)}/{escape(self.drop_reason)})"


# The raw reason: its name is the kernel's to tell (collectors/skb_drop.py).
WIRE = Wire("skb_drop", "u32 reason")
