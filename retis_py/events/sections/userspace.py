"""Section ``userspace``: the user space (USDT) probe that was hit."""

from typing import TYPE_CHECKING

from retis_py.events.escape import escape
from retis_py.events.sections.base import I32, U64, Section

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Userspace(Section):
    """Probe and process."""

    probe_type: str  # "usdt"
    symbol: str  # "provider:name" of the .note.stapsdt note
    ip: U64  # instruction pointer at the probe
    path: str  # executable that holds the probe
    pid: I32
    tid: I32

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``[u] SYMBOL (FILE)``, FILE being the last part of a path that has several."""
        _, slash, name = self.path.rpartition("/")
        file = f" ({escape(name)})" if slash else ""
        return f"[u] {escape(self.symbol)}{file}"
