"""Packets where they were seen, as a list or packed."""

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple, TypeAlias

from retis_py.process.conversation import Conversation

HAS_KEY = 1 << 63
"""In the length of a packed packet that has a tracking id."""

_PACKED = Struct("=4Q")
_U64 = (1 << 64) - 1

SeenPacket: TypeAlias = tuple[tuple[int, int] | None, int, Conversation | None]
"""A packet where it was seen first in a piece, a plain tuple since there are many:

1. key of its tracking id: time (ns) and address; None: it has none;
2. bytes on the wire;
3. None: it has no addresses.
"""


class PackedPackets(NamedTuple):
    """Packets by the compiled part: four numbers of 64 bits each, retis_py/native/count.c.

    Their order is that of the list that Python makes, which says where a conversation is given up.
    """

    packets: bytes
    conversations: list[Conversation]  # by number, from 1 in the packets


def packed(packets: Iterable[SeenPacket]) -> PackedPackets:
    """Pack packets."""
    numbers: dict[Conversation | None, int] = {None: 0}
    rows = []
    for key, length, conversation in packets:
        number = numbers.setdefault(conversation, len(numbers))
        if key is None:
            rows.append(_PACKED.pack(0, 0, length, number))
        else:
            time, head = key
            rows.append(_PACKED.pack(time & _U64, head & _U64, length | HAS_KEY, number))
    return PackedPackets(b"".join(rows), [each for each in numbers if each is not None])
