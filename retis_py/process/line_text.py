"""Lines of an event file to text, without decoding what was seen before.

Most of an event's text repeats: its probe, its device, its namespace, and the packet at each probe
that it passes. So an event is split into its parts as they stand in the file (events/layout.py),
and the text of each is remembered. What is new is decoded and worded as in events/text.py.
"""

import re
from collections.abc import Callable
from itertools import islice
from operator import attrgetter
from typing import Generic, TypeVar

import msgspec
from msgspec.structs import replace

from retis_py import compiled
from retis_py.events.event import Event, Identity, decode
from retis_py.events.layout import (
    PARTS_TIME,
    AnotherLayoutError,
    Parts,
    completed,
    split_lines,
    split_series,
)
from retis_py.events.lines import UNDECODABLE, LineFormat, wrong_with
from retis_py.events.sections.packet import Packet
from retis_py.events.text import (
    PACKET_COLOUR,
    TextFormat,
    colours,
    first_line,
    follower_text,
    further_text,
    identity_text,
    packet_line,
    series_text,
)
from retis_py.process.worded_pieces import Part, WordedPieces, Wording
from retis_py.process.work import Damage, Done

# Texts held of a part. Packets and connections come and go; beyond this all are forgotten.
_REMEMBERED = 8192
_TIME = len(str(PARTS_TIME))  # what is cut off the text of an event made of a part

_OBJECT = rb"\{[^}]*\}"
_DEVICE = re.compile(rb'(?:,"netns":%b|)(?:,"dev":%b|)' % (_OBJECT, _OBJECT)).match


class _PacketAlone(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    packet: Packet


_decode_packet = msgspec.json.Decoder(_PacketAlone).decode
_decode_identity = msgspec.json.Decoder(Identity).decode

_Text = TypeVar("_Text")


class _Texts(dict[bytes, _Text], Generic[_Text]):
    """Text of a part, made by ``word`` the first time."""

    def __init__(self, word: Callable[[bytes], _Text]) -> None:
        super().__init__()
        self._word = word

    def __missing__(self, part: bytes) -> _Text:
        text = self._word(part)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[part] = text
        return text


class LineText:
    """Words pieces of an event file: a job for ``work_through`` that gives text in UTF-8.

    In multi-line format an empty line follows each event or series. Damaged lines are left out,
    and without ``keep_going`` all that follows them.
    """

    def __init__(self, lines: LineFormat, fmt: TextFormat, *, keep_going: bool = False) -> None:
        self._lines = lines
        self._fmt = fmt
        self._keep_going = keep_going
        self._bare = replace(fmt, utc=False)
        self._end = b"\n\n" if fmt.multi_line else b"\n"
        self._probe = _Texts(self._probe_text)
        self._identity = _Texts(self._identity_text)
        self._packet = _Texts(self._packet_text)
        self._any_packet = self._text_of("packet")
        self._skb = _Texts(self._text_of("skb"))
        self._rest = _Texts(self._rest_text)
        self._device = _Texts(self._text_of("netns", "dev"))
        self._others = _Texts(self._others_text)
        self._compiled: WordedPieces | None = None
        if compiled.library is not None and not lines.sorted and not fmt.utc:
            begin, end = colours(PACKET_COLOUR, enabled=fmt.colour)
            around = ((b"\n  " if fmt.multi_line else b" ") + begin, end)
            self._compiled = WordedPieces(
                self._wordings(),
                self._end,
                around_packets=None if fmt.link_layer else around,
                colour=fmt.colour,
            )

    def __call__(self, piece: bytes) -> Done:
        """Word all lines of ``piece``."""
        if not self._lines.is_current:
            return self._one_by_one(piece)
        if self._compiled is not None and (done := self._compiled(piece)) is not None:
            return done
        try:
            texts = self._series(piece) if self._lines.sorted else self._texts(split_lines(piece))
        except (*UNDECODABLE, AnotherLayoutError):
            return self._one_by_one(piece)
        return Done(self._joined(texts), len(texts))

    def _joined(self, texts: list[bytes]) -> bytes:
        return self._end.join([*texts, b""])

    def _series(self, piece: bytes) -> list[bytes]:
        """Texts of a sorted file's lines."""
        events, counts = split_series(piece)
        texts = iter(self._texts(events))
        series = []
        for count in counts:
            text = next(texts)
            if count > 1:
                others = [
                    follower_text(text.decode()).encode() for text in islice(texts, count - 1)
                ]
                text = b"\n".join([text, *others])
            series.append(text)
        return series

    def _texts(self, events: list[Parts]) -> list[bytes]:
        """Texts of events."""
        probes, identities, packets = self._probe, self._identity, self._packet
        skbs, rests = self._skb, self._rest
        utc, fmt = self._fmt.utc, self._fmt
        texts = []
        # Where the next event is of the same packet, it has the same objects.
        last_packet = last_identity = None
        for time, probe, identity, packet, skb, rest in events:
            if packet is not last_packet:
                last_packet, packet_text = packet, packets[packet]
            if identity is not last_identity:
                last_identity, identity_text = identity, identities[identity]
            shown = fmt.time(int(time)).encode() if utc else time
            probe_text, stack = probes[probe]
            device, others = rests[rest]
            first = (shown, probe_text, identity_text)
            texts.append(b"".join((*first, stack, packet_text, device, skbs[skb], others)))
        return texts

    def _wordings(self) -> dict[Part, Wording]:
        """Return what words the parts that the compiled part cuts lines into."""

        def alone(word: Callable[[bytes], bytes]) -> Wording:
            return lambda part: (word(part), b"")

        return {
            Part.HEAD: self._probe_text,
            Part.IDS: alone(self._identity_text),
            Part.DROP: alone(self._identity_text),
            Part.PACKET: alone(self._packet_text),
            Part.SKB: alone(self._text_of("skb")),
            Part.DEVICE: alone(self._text_of("netns", "dev")),
            Part.OTHERS: alone(self._others_text),
        }

    def _one_by_one(self, piece: bytes) -> Done:
        """Decode each line; find out which are damaged."""
        texts = []
        damages = []
        lines = piece.split(b"\n")[:-1]
        for index, line in enumerate(lines):
            if line.isspace() or not line:
                continue
            try:
                texts.append(series_text(self._lines.events(line), self._fmt).encode())
            except UNDECODABLE as error:
                damages.append(Damage(index, wrong_with(error)))
                if not self._keep_going:
                    break
        return Done(self._joined(texts), len(lines), tuple(damages))

    def _probe_text(self, part: bytes) -> tuple[bytes, bytes]:
        """Return what goes on the first line, and the stack."""
        event = _decode_probe(part)
        if event.kernel is not None and event.kernel.stack_trace == []:
            raise AnotherLayoutError  # its text depends on what follows
        return first_line(event, self._bare)[_TIME:].encode(), further_text(
            event, self._bare
        ).encode()

    def _identity_text(self, part: bytes) -> bytes:
        # Each packet has its own: only what may be in it is decoded.
        return identity_text(_decode_identity(b"{%b}" % part[1:]), self._bare).encode()

    def _packet_text(self, part: bytes) -> bytes:
        # The same here: each packet has its own.
        try:
            packet = _decode_packet(b"{%b}" % part[1:]).packet
        except UNDECODABLE:  # something stands beside it
            return self._any_packet(part)
        return packet_line(packet, self._bare).encode()

    def _rest_text(self, part: bytes) -> tuple[bytes, bytes]:
        """Return the namespace and device, and all other sections."""
        device = _DEVICE(part)
        assert device is not None  # noqa: S101 (it matches nothing, at least)
        return self._device[device[0]], self._others[part[device.end() :]]

    def _others_text(self, part: bytes) -> bytes:
        event = _decode_others(part)
        if event.nft is not None and self._fmt.nft_rules is not None:
            raise AnotherLayoutError  # whether its rule is known depends on the namespace
        return further_text(event, self._bare).encode()

    def _text_of(self, *sections: str) -> Callable[[bytes], bytes]:
        """Return a function that words a part of these sections."""
        decode_part = _decoder(*sections)
        return lambda part: further_text(decode_part(part), self._bare).encode()


def _decoder(*sections: str, has_common: bool = False) -> Callable[[bytes], Event]:
    """Return a function that decodes a part of these sections, or raises AnotherLayoutError."""
    others = attrgetter(
        *(name for name in Event.__struct_fields__ if name not in {"common", *sections})
    )
    none = (None,) * (len(Event.__struct_fields__) - 1 - len(sections))

    def decode_part(part: bytes) -> Event:
        event = decode(completed(part, has_common=has_common))
        if event.common.timestamp != PARTS_TIME or others(event) != none:
            raise AnotherLayoutError
        return event

    return decode_part


_decode_probe = _decoder("kernel", "userspace", has_common=True)
_decode_others = _decoder("ovs", "ovs_detrace", "nft", "ct", "startup")
