"""Bytes of packets as text, with and without the link layer, cut anywhere."""

from fuzz.target import Target
from interop.packet_builders import samples
from retis_py.packet import packet_text


def target() -> Target:
    """See the module."""
    return Target(check, [*samples().values()], max_length=600)


def check(data: bytes) -> None:
    """Never anything but a line of printable ASCII."""
    for link_layer in (False, True):
        text = packet_text(data, len(data), link_layer=link_layer)
        assert text.isascii(), text
        assert not text or text.isprintable(), text
        assert len(text) < 4000 + 8 * len(data), len(text)
