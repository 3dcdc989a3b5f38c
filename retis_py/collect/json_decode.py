"""Raw records to lines of an event file, without an Event in between where that can be.

Most of a record repeats: the probe and the task, the device, the namespace, the connection, the
stack. The JSON text of such bytes is made once, through an Event, and then looked up; what differs
with each packet is encoded each time. json_decode_line.py writes the code that does so for records
with the same parts.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from retis_py.collect.decode import ADDRESS_SIZE, Decoder, Layout
from retis_py.collect.json_decode_line import (
    Line,
    OtherWayError,
    SectionRun,
    find_runs,
    header_of,
    write_line_function,
)
from retis_py.collect.json_decode_memo import Memo
from retis_py.collectors.collector import Part
from retis_py.errors import RetisError
from retis_py.events.event import Event, encode
from retis_py.events.sections.common import Common
from retis_py.events.wire import HEADER
from retis_py.probes.probe import Probe

_PARTS_START, _PARTS_END = 16, 20  # of the bitmap, in the header

# A program has some dozens of kinds of records; beyond this all functions are written anew.
_FUNCTIONS = 1024

# What stands before and behind a head's text, see _head_text().
_BEFORE = b'{"common":{"timestamp":0'
_BEHIND = b"}}"


class JsonDecoder(Decoder):
    """A decoder that gives events as lines of JSON too.

    Texts that it remembers take some MiB at most (json_decode_memo.py).
    """

    def __init__(
        self, parts: Sequence[Part], probes: Sequence[Probe], resolve: Callable[[int], str]
    ) -> None:
        self._heads = Memo(self._head_text)
        self._stacks = _Stacks(resolve)
        self._sections: dict[int, Memo] = {}  # by the bitmap of their parts
        self._functions: dict[bytes, Line] = {}  # by the bitmap of all parts, as in the record
        super().__init__(parts, probes, resolve)

    def add_function(self, probe: Probe) -> None:
        """Know a function that is attached from now on."""
        super().add_function(probe)
        self._heads.clear()

    def lines(self, records: Iterable[bytes]) -> Iterator[bytes]:
        """Decode records to lines, each with its newline: what ``encode(decode(record))`` gives.

        Raises, after the lines of the records before it:
            RetisError: a record is not as the program makes them (a bug).
        """
        functions = self._functions
        for record in records:
            try:
                line = functions[record[_PARTS_START:_PARTS_END]](record)
            except (KeyError, struct.error, OtherWayError, RetisError):
                line = self._line(record)
            yield line

    def _line(self, record: bytes) -> bytes:
        """Decode a record of a kind that is new, or that cannot do without an Event, or damaged."""
        line = encode(self.decode(record)) + b"\n"
        raw = record[_PARTS_START:_PARTS_END]
        if raw not in self._functions:
            if len(self._functions) >= _FUNCTIONS:
                self._functions.clear()
                self._sections.clear()
            self._functions[raw] = self._function(int.from_bytes(raw, sys.byteorder))
        return line

    def _function(self, bitmap: int) -> Line:
        runs = find_runs(self._parts, bitmap)
        if runs is None:
            return _other_way
        texts = {run.bitmap: self._memo(run) for run in runs if run.repeats}
        return write_line_function(runs, self._heads, self._stacks, texts)

    def _memo(self, run: SectionRun) -> Memo:
        """Return the texts of a section that is made of these parts, whatever comes with them."""
        memo = self._sections.get(run.bitmap)
        if memo is None:
            layout = Layout(self._parts, run.bitmap)

            def make(raw: bytes) -> bytes:
                event = Event(Common(0))
                layout.build(event, layout.struct.unpack(bytes(HEADER.size) + raw))
                return encode(getattr(event, run.section))

            memo = self._sections[run.bitmap] = Memo(make)
        return memo

    def _head_text(self, raw: bytes) -> bytes:
        """Return what follows the timestamp, up to where the kernel's section has its stack.

        ``raw`` is the header without what belongs to a single event.
        """
        event = self.decode(header_of(raw))
        if event.kernel is None:
            raise OtherWayError  # the path of its program may become known later
        text = encode(event)
        assert text.startswith(_BEFORE)  # noqa: S101
        assert text.endswith(_BEHIND)  # noqa: S101
        return text[len(_BEFORE) : -len(_BEHIND)]


class _Stacks(Memo):
    """Texts of stacks: the end of the kernel's section."""

    __slots__ = ("_resolve",)

    def __init__(self, resolve: Callable[[int], str]) -> None:
        super().__init__(lambda raw: raw)
        self._resolve = resolve

    def __missing__(self, raw: bytes) -> bytes:
        addresses = struct.unpack(f"={len(raw) // ADDRESS_SIZE}Q", raw)
        frames = [*map(self._resolve, addresses)]
        text = b',"stack_trace":%b}' % encode(frames)
        if not any(frame.startswith("0x") for frame in frames):  # its name may be known later
            self.keep(raw, text)
        return text


def _other_way(_: bytes) -> bytes:
    raise OtherWayError
