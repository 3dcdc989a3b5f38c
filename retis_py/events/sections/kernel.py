"""Section ``kernel``: the kernel probe that was hit."""

from typing import TYPE_CHECKING

from msgspec import field

from retis_py.events.escape import escape
from retis_py.events.sections.base import Section

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat

_SHORT = {"raw_tracepoint": "tp", "kprobe": "k", "kretprobe": "kr"}


class StackTrace(list[str]):
    """Frames, innermost first."""

    def to_dict(self) -> list[str]:
        """Return a plain list, as in the JSON of the event."""
        return list(self)


class Kernel(Section):
    """Probe, and the call stack where it was asked for."""

    symbol: str  # function ("ip_rcv") or tracepoint ("skb:kfree_skb")
    probe_type: str  # "kprobe", "kretprobe", "raw_tracepoint"; others are read too
    frames: list[str] | None = field(default=None, name="stack_trace")  # "symbol+0xoffset"

    @property
    def stack_trace(self) -> StackTrace | None:
        """A copy of ``frames``, innermost first; None where no stack was asked for."""
        return None if self.frames is None else StackTrace(self.frames)

    @stack_trace.setter
    def stack_trace(self, frames: list[str] | None) -> None:
        self.frames = frames

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``[tp|k|kr] SYMBOL``."""
        return f"[{_SHORT.get(self.probe_type, 'invalid')}] {escape(self.symbol)}"

    def stack_text(self, fmt: "TextFormat") -> str:
        """Return the stack trace: a line per frame, indented, or ``[a, b]`` if single-line."""
        frames = [escape(frame) for frame in self.frames or ()]
        if fmt.multi_line:
            return "\n".join([f"  {frame}" for frame in frames])
        return f"[{', '.join(frames)}]"
