"""Lines of an event file to text, without decoding what was seen before.

Most of an event's text repeats: its probe, its device, its namespace, and the packet at each probe
that it passes. So an event is split into its parts as they stand in the file (events/layout.py),
and the text of each is remembered. What is new is decoded and worded as in events/text.py.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from retis_py.events.event import Event, decode
from retis_py.events.layout import EVENT_LINE, SERIES_EVENT, split_series
from retis_py.events.lines import UNDECODABLE, LineFormat, wrong_with
from retis_py.events.text import (
    TextFormat,
    first_line,
    follower_text,
    further_text,
    series_text,
)
from retis_py.process.work import Damage, Done

# Texts held of a part. Packets and connections come and go; beyond this all are forgotten.
_REMEMBERED = 8192

# A part is decoded inside an event that holds nothing else, and its time is cut off again.
_EMPTY = '{"common":{"timestamp":0}'
_TIME = len("0")


_NUMBER = "(0|[1-9][0-9]{0,19})"
_TRACKING_ID = re.compile(
    rf'}},"skb-tracking":{{"orig_head":{_NUMBER},"timestamp":{_NUMBER},"skb":{_NUMBER}}}'
).fullmatch


class _AnotherLayoutError(ValueError):
    """A piece cannot be split into parts: its lines are decoded one by one."""


class _Texts(dict[str, str]):
    """Text of a part, made by ``word`` the first time."""

    def __init__(self, word: Callable[[str], str]) -> None:
        super().__init__({"": ""})
        self._word = word

    def __missing__(self, part: str) -> str:
        text = self._word(part)
        if len(self) >= _REMEMBERED:
            self.clear()
            self[""] = ""
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
        self._end = "\n\n" if fmt.multi_line else "\n"
        self._hook = _Texts(self._hook_text)
        self._stack = _Texts(self._stack_text)
        self._identity = _Texts(self._identity_text)
        self._packet = _Texts(self._section_text)
        self._skb = _Texts(self._section_text)
        self._device = _Texts(self._section_text)
        self._rest = _Texts(self._rest_text)

    def __call__(self, piece: bytes) -> Done:
        """Word all lines of ``piece``."""
        if not self._lines.is_current:
            return self._one_by_one(piece)
        try:
            text = piece.decode()
            texts, lines = self._series(text) if self._lines.sorted else self._events(text)
        except (*UNDECODABLE, _AnotherLayoutError):
            return self._one_by_one(piece)
        return Done(self._joined(texts), lines)

    def _joined(self, texts: list[str]) -> bytes:
        texts.append("")
        return self._end.join(texts).encode()

    def _events(self, piece: str) -> tuple[list[str], int]:
        """Texts of the lines, and how many lines there are."""
        hooks, stacks, identities, packets = self._hook, self._stack, self._identity, self._packet
        skbs, devices, rests = self._skb, self._device, self._rest
        utc, fmt = self._fmt.utc, self._fmt
        texts = []
        match = None
        # Where the next event is of the same packet, comparing is faster than looking it up.
        last_packet = last_identity = packet_text = identity_text = ""
        for match in _one_after_the_other(EVENT_LINE, piece):
            time, hook, stack, identity, packet, skb, device, rest = match.groups()
            if utc:
                time = fmt.time(int(time))
            if packet != last_packet:
                last_packet, packet_text = packet, packets[packet]
            if identity != last_identity:
                last_identity, identity_text = identity, identities[identity]
            texts.append(
                f"{time}{hooks[hook]}{identity_text}{stacks[stack]}{packet_text}"
                f"{devices[device]}{skbs[skb]}{rests[rest]}"
            )
        if match is None or match.end() != len(piece):
            raise _AnotherLayoutError
        return texts, len(texts)

    def _series(self, piece: str) -> tuple[list[str], int]:
        """Do the same for a sorted file."""
        hooks, stacks, identities, packets = self._hook, self._stack, self._identity, self._packet
        skbs, devices, rests = self._skb, self._device, self._rest
        utc, fmt = self._fmt.utc, self._fmt
        separator = "\n"
        lines = piece.count("\n")
        piece = split_series(piece)
        texts: list[str] = []
        series: list[str] = []
        end = 0
        for match in SERIES_EVENT.finditer(piece):
            start, next_end = match.span()
            opening, time, hook, stack, identity, packet, skb, device, rest, closing = (
                match.groups()
            )
            if start != end or (opening == "[") is bool(series):
                raise _AnotherLayoutError
            end = next_end
            if utc:
                time = fmt.time(int(time))
            text = (
                f"{time}{hooks[hook]}{identities[identity]}{stacks[stack]}{packets[packet]}"
                f"{devices[device]}{skbs[skb]}{rests[rest]}"
            )
            series.append(follower_text(text) if series else text)
            if closing:
                texts.append(separator.join(series))
                series.clear()
        if series or end != len(piece) or len(texts) != lines:
            raise _AnotherLayoutError
        return texts, lines

    def _one_by_one(self, piece: bytes) -> Done:
        """Decode each line; find out which are damaged."""
        texts = []
        damages = []
        lines = piece.split(b"\n")[:-1]
        for index, line in enumerate(lines):
            if line.isspace() or not line:
                continue
            try:
                texts.append(series_text(self._lines.events(line), self._fmt))
            except UNDECODABLE as error:
                damages.append(Damage(index, wrong_with(error)))
                if not self._keep_going:
                    break
        return Done(self._joined(texts), len(lines), tuple(damages))

    def _hook_text(self, part: str) -> str:
        end = "}}" if '"probe_type"' in part else "}"
        return first_line(decode(f'{{"common":{{"timestamp":0{part}{end}'), self._bare)[_TIME:]

    def _identity_text(self, part: str) -> str:
        # Each packet has its own: not decoded where it is nothing but its id.
        if (ids := _TRACKING_ID(part)) is not None and not self._fmt.colour:
            head, timestamp, skb = ids.groups()
            return f" #{(int(timestamp) << 64) + int(head):x} (skb {int(skb):x})"
        event = decode(f"{_EMPTY}{part.removeprefix('}')}}}")
        if part.startswith("}") and event.userspace is not None:
            raise _AnotherLayoutError  # a kernel probe is there too, and is what is shown
        return first_line(event, self._bare)[_TIME:]

    def _stack_text(self, part: str) -> str:
        event = decode(f'{_EMPTY},"kernel":{{"symbol":"","probe_type":""{part}}}}}')
        assert event.kernel is not None  # noqa: S101 (it is written above)
        if not event.kernel.stack_trace:
            raise _AnotherLayoutError  # its text depends on what follows
        return further_text(event, self._bare)

    def _section_text(self, part: str) -> str:
        return further_text(decode(f"{_EMPTY}{part}}}"), self._bare)

    def _rest_text(self, part: str) -> str:
        event = decode(f"{_EMPTY}{part}")
        if '"common":' in part or not _is_rest(event):
            raise _AnotherLayoutError
        if event.nft is not None and self._fmt.nft_rules is not None:
            raise _AnotherLayoutError  # whether its rule is known depends on the namespace
        return further_text(event, self._bare)


def _one_after_the_other(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Iterate over matches with nothing between them: until something else comes, or the end."""
    return iter(pattern.scanner(text).match, None)  # type: ignore[attr-defined]


def _is_rest(event: Event) -> bool:
    """Whether the event holds none of the sections that have a part of their own."""
    return all(
        section is None
        for section in (
            event.kernel, event.userspace, event.tracking, event.skb_tracking, event.skb_drop,
            event.packet, event.skb, event.netns, event.dev,
        )
    )  # fmt: skip
