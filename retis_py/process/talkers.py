"""Who talks most: packets and bytes of each conversation, in bounded memory."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import nlargest
from typing import TypeAlias

from retis_py import compiled
from retis_py.process.conversation import Conversation
from retis_py.process.counted_pieces import Lately
from retis_py.process.seen_packets import HAS_KEY, PackedPackets, SeenPacket, packed

# Packets remembered in order not to count one twice: so many at least, and twice as many at most.
_REMEMBERED = 1 << 17
# Conversations held. With more, as in an attack from forged addresses, small ones are given up.
_HELD = 1 << 16


@dataclass(slots=True)
class Traffic:
    """Packets and their bytes on the wire."""

    packets: int = 0
    bytes: int = 0


Talker: TypeAlias = tuple[Conversation, Traffic]


class Talkers:
    """Counts packets by conversation, each once, by its tracking id, with the length it had first.

    A packet without tracking id counts at each event. One that comes up again after 131,072 others
    may count again; beyond 65,536 conversations small ones are given up, and ``complete`` is false
    from then on. ``total`` is of all packets.
    """

    complete: bool

    def __init__(self) -> None:
        self.complete = True
        self.total = Traffic()
        self._held: dict[Conversation, Traffic] = {}
        self._recent: set[tuple[int, int]] = set()
        self._before: set[tuple[int, int]] = set()
        self._lately: Lately | None = None  # the same by the compiled part

    def __len__(self) -> int:
        return len(self._held)

    def add(self, packets: Iterable[SeenPacket]) -> None:
        """Count packets."""
        if compiled.library is not None:  # which shall know all of them
            self.add_packed(packed(packets))
            return
        for key, length, conversation in packets:
            if key is not None:
                if key in self._recent or key in self._before:
                    continue
                self._recent.add(key)
                if len(self._recent) >= _REMEMBERED:
                    self._before, self._recent = self._recent, set()
            self._count(conversation, 1, length)

    def add_packed(self, packets: PackedPackets) -> None:
        """Count packets that the compiled part saw."""
        if self._lately is None:
            self._lately = Lately(_REMEMBERED)
        new, sums = self._lately.new(packets.packets, len(packets.conversations))
        conversations: list[Conversation | None] = [None, *packets.conversations]
        if len(self._held) + len(conversations) > _HELD:  # one by one: which is given up may change
            for _, _, length, number in struct.iter_unpack("=4Q", new):
                self._count(conversations[number], 1, length & ~HAS_KEY)
            return
        for number, conversation in enumerate(conversations):
            if count := sums[2 * number]:
                self._count(conversation, count, sums[2 * number + 1])

    def _count(self, conversation: Conversation | None, packets: int, length: int) -> None:
        self.total.packets += packets
        self.total.bytes += length
        if conversation is None:
            return
        traffic = self._held.get(conversation)
        if traffic is None:
            if len(self._held) >= _HELD:
                self._give_up_small()
            traffic = self._held[conversation] = Traffic()
        traffic.packets += packets
        traffic.bytes += length

    def by_bytes(self, count: int) -> list[Talker]:
        """Return the first ``count``, by bytes."""
        return self._top(count, lambda talker: (talker[1].bytes, talker[1].packets, talker[0]))

    def by_packets(self, count: int) -> list[Talker]:
        """Return the first ``count``, by packets."""
        return self._top(count, lambda talker: (talker[1].packets, talker[1].bytes, talker[0]))

    def _top(
        self, count: int, rank: Callable[[Talker], tuple[int, int, Conversation]]
    ) -> list[Talker]:
        return nlargest(count, self._held.items(), key=rank)

    def _give_up_small(self) -> None:
        self.complete = False
        most = _HELD // 4
        self._held = dict(self.by_bytes(most)) | dict(self.by_packets(most))
