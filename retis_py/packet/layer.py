"""What the protocol files share: the hand-over between layers, and the notes that end a line.

A layer is a function that takes the whole packet, the bounds ``pos`` and ``end`` of its own bytes
in it (``pos`` may lie beyond ``end``: then nothing of it was captured), and the list that collects
the text. Layers that carry a frame do not call the next one but return it, so that the depth of
nesting, which the sender chooses, never becomes depth of the Python stack.
"""

from typing import TypeAlias

#: What follows: its ethertype (or ``ETHERNET``) and the bounds of its bytes. None at the end.
Next: TypeAlias = tuple[int, int, int] | None

#: Stands in ``Next`` for a whole Ethernet frame. No ethertype is negative.
ETHERNET = -1

TRUNCATED = "... (truncated or incomplete packet)"


def unsupported(what: str) -> str:
    """Return the note that ends a line at a layer we cannot read."""
    return f"... ({what} not supported, use 'retis pcap')"
