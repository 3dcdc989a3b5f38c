"""The bytes of a packet, turned into one line of text in the manner of tcpdump.

One protocol a file. The text is, character for character, that of retis 1.7; packets on which that
one gives up with a panic read as truncated here. Nothing in this package raises on packet data,
and only printable ASCII comes out.
"""

from retis_py.packet.frame import packet_text

__all__ = ["packet_text"]
