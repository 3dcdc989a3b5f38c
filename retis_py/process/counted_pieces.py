"""Pieces of an event file counted by the compiled part: what stats_lines.py does in Python."""

import ctypes
import struct
from array import array
from collections.abc import Callable
from typing import TypeAlias

from retis_py.compiled import Memo, Pointer, Text, address_of, library, most_lines
from retis_py.events.layout import BEGIN, PARTS_TIME, AnotherLayoutError
from retis_py.events.lines import UNDECODABLE
from retis_py.process.conversation import Conversation

Counted: TypeAlias = tuple[
    int, list[tuple[bytes, int]], int | None, int | None, bytes, list[Conversation]
]
"""Lines; kinds with their events; first and last time; packets; conversations."""

_KIND = struct.Struct("=iiiI")
_PACKET_SIZE = 32  # bytes


class _Counting(ctypes.Structure):
    _fields_ = (
        ("piece", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
        ("heads", Pointer),
        ("drops", Pointer),
        ("devices", Pointer),
        ("sound", Pointer),
        ("doubtful", Pointer),
        ("kinds", Pointer),
        ("keys", Pointer),
        ("conversations", Pointer),
        ("most", ctypes.c_size_t),
        ("counts", Pointer),
        ("at_events", Pointer),
        ("packets", Pointer),
        ("event_count", ctypes.c_size_t),
        ("packet_count", ctypes.c_size_t),
        ("first", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
        ("last_packet", Text),
        ("last_read", ctypes.c_uint64 * 4),
    )


class _Judged:
    """Parts of one kind, which Python has a look at when they come up."""

    def __init__(self, sections: tuple[str, ...], *, has_common: bool = False) -> None:
        self.memo = Memo()
        self.parts: list[bytes] = []  # by number
        self._sections = sections
        self._has_common = has_common

    def judge(self, judge: Callable[..., None]) -> bool:
        """Look at what is new; return whether all are parts of events."""
        sound = True
        for number, part in self.memo.new():
            self.parts.append(part)
            try:
                judge(part, self._sections, has_common=self._has_common)
            except (AnotherLayoutError, *UNDECODABLE):
                self.memo.refuse(number)
                sound = False
        return sound

    def trim(self) -> None:
        """Forget all where it has become much."""
        if self.memo.trim():
            self.parts.clear()


class CountedPieces:
    """Counts pieces of an unsorted file in today's format.

    ``judge`` is stats_lines.judge_part.
    """

    # Each piece costs some microseconds for each kind of event in it.
    LONGER = 4

    def __init__(self, judge: Callable[..., None]) -> None:
        self._judge = judge
        self._heads = _Judged(("kernel", "userspace"), has_common=True)
        self._drops = _Judged(("skb_drop",))
        self._devices = _Judged(("netns", "dev"))
        self._doubtful = _Judged(())
        self._judged = (self._heads, self._drops, self._devices, self._doubtful)
        self._sound, self._kinds, self._keys, self._talking = (Memo() for _ in range(4))
        self._counting = _Counting(
            heads=self._heads.memo.pointer,
            drops=self._drops.memo.pointer,
            devices=self._devices.memo.pointer,
            doubtful=self._doubtful.memo.pointer,
            sound=self._sound.pointer,
            kinds=self._kinds.pointer,
            keys=self._keys.pointer,
            conversations=self._talking.pointer,
        )

    def __call__(self, piece: bytes) -> Counted | None:
        """Count all lines of ``piece``. None where that has to be done in Python."""
        counting = self._counting
        self._make_room(most_lines(piece))
        counting.piece, counting.size = piece, len(piece)
        lines = library.count_piece(ctypes.byref(counting))
        sound = [judged.judge(self._judge) for judged in self._judged]
        if lines < 0 or not all(sound):
            return None
        packets = ctypes.string_at(counting.packets, counting.packet_count * _PACKET_SIZE)
        first, last = (counting.first, counting.last) if lines else (None, None)
        return lines, self._counts(), first, last, packets, self._conversations()

    def _counts(self) -> list[tuple[bytes, int]]:
        size = library.memo_count(self._kinds.pointer) * _KIND.size
        counts = _KIND.iter_unpack(ctypes.string_at(self._counting.counts, size))
        heads, drops, devices = self._heads.parts, self._drops.parts, self._devices.parts
        return [
            (
                b"%b%d%b%b%b}"
                % (
                    BEGIN,
                    PARTS_TIME,
                    heads[head],
                    b"" if drop < 0 else drops[drop],
                    b"" if device < 0 else devices[device],
                ),
                events,
            )
            for head, drop, device, events in counts
        ]

    def _conversations(self) -> list[Conversation]:
        talking = self._talking
        talking.known = 0
        return [
            (addresses[: len(addresses) // 2], addresses[len(addresses) // 2 :])
            for _, addresses in talking.new()
        ]

    def _make_room(self, lines: int) -> None:
        for judged in self._judged:
            judged.trim()
        self._sound.known = library.memo_count(self._sound.pointer)
        self._sound.trim()
        if self._counting.most < lines:
            self._counts_room = bytearray(lines * _KIND.size)
            self._packets_room = bytearray(2 * lines * _PACKET_SIZE)
            self._counting.counts = address_of(self._counts_room)
            self._counting.at_events = address_of(self._packets_room)
            self._counting.packets = self._counting.at_events + lines * _PACKET_SIZE
            self._counting.most = lines


class _Lately(ctypes.Structure):
    _fields_ = (("recent", Pointer), ("before", Pointer), ("most", ctypes.c_long))


class Lately:
    """Packets that came up lately: ``most`` of them at least, and twice as many at most."""

    def __init__(self, most: int) -> None:
        self._memos = (Memo(), Memo())
        self._lately = _Lately(self._memos[0].pointer, self._memos[1].pointer, most)

    def new(self, packets: bytes, conversations: int) -> tuple[bytes, "array[int]"]:
        """Return those that did not come up, and packets and bytes of each conversation.

        The first two sums are those of packets without a conversation.
        """
        kept = bytearray(packets)
        sums = array("Q", bytes(16 * (conversations + 1)))
        count = library.count_packets(
            ctypes.byref(self._lately),
            address_of(kept),
            len(kept) // _PACKET_SIZE,
            sums.buffer_info()[0],
        )
        return bytes(kept[: count * _PACKET_SIZE]), sums
