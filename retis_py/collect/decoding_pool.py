"""Processes that decode for the one that writes: a batch of records each, lines come back in order.

Records and lines are put into memory that both have mapped; the channel only says that they are
there. So neither ever waits until the other one has read. A helper knows what was known when it was
forked: for what becomes known later all of them are ended, and forked again when they are needed.
"""

import logging
import mmap
import struct
from array import array
from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from retis_py.collect.channel import Channel, Lines, Records
from retis_py.collect.decoder_process import DecoderKilledError, DecoderProcess
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collect.spool_format import Decoded
from retis_py.errors import RetisError

log = logging.getLogger(__name__)

# Two keep the one busy that reads, merges and writes; four do where records take longer to decode.
_MOST = 4
_WITHOUT = 3  # CPUs: one drains, one decodes, one is left for those whose packets are traced

_SLOTS = 2  # batches of a helper: one to decode, one that waits for it or is fetched

SLOT_SIZE = 8 << 20
"""Bytes that a batch may have, as records or as lines. Only what was used takes memory."""


class Batch(NamedTuple):
    """Records, and how far decoding is once they and those before them are safe."""

    records: Sequence[bytes]
    decoded: Decoded


class Result(NamedTuple):
    """What came of a batch. ``lines`` is None where a helper cannot do it."""

    batch: Batch
    lines: bytes | None


def choose_helpers(cpus: int) -> int:
    """Return how many helpers to have where so many CPUs may be used."""
    return 0 if cpus <= _WITHOUT else min(cpus - 2, _MOST)


class DecodingPool:
    """Up to ``number`` helpers, which decode as ``decoder`` would; none before ``start``.

    ``descriptors`` are the files that the decoder needs.
    """

    def __init__(
        self, decoder: JsonDecoder, number: int, descriptors: Collection[int] = ()
    ) -> None:
        self._decoder = decoder
        self._number = number
        self._descriptors = descriptors
        self._helpers: list[_Helper] = []
        self._turn = 0
        self._given: deque[tuple[_Helper | None, Batch]] = deque()

    def start(self) -> bool:
        """Start them, unless they run; return whether there are any."""
        try:
            while len(self._helpers) < self._number:
                self._helpers.append(_Helper(self._decoder, self._descriptors))
        except OSError as error:
            log.debug("decoding without help: %s", error.strerror)
            self._number = 0
            self.close()
        return self._number > 0

    @property
    def waiting(self) -> int:
        """How many batches were given and not taken."""
        return len(self._given)

    @property
    def waiting_records(self) -> int:
        """How many records are in them."""
        return sum(len(batch.records) for _, batch in self._given)

    @property
    def capacity(self) -> int:
        """How many batches there is room for."""
        return len(self._helpers) * _SLOTS

    def give(self, batch: Batch) -> None:
        """Have a batch decoded; there is to be room for it."""
        helper = self._helpers[self._turn]
        if helper.give(batch.records):
            self._turn = (self._turn + 1) % len(self._helpers)
            self._given.append((helper, batch))
        else:
            self._given.append((None, batch))

    def take(self, timeout: float | None) -> Result | None:
        """Return what came of the oldest batch; None where it takes longer than ``timeout`` (s).

        Raises:
            RetisError: the helper was killed.
        """
        helper, batch = self._given[0]
        lines = None
        if helper is not None:
            size = helper.wait(timeout)
            if size is None:
                return None
            lines = helper.take(size) or None
        self._given.popleft()
        return Result(batch, lines)

    def close(self) -> None:
        """End them, whatever they do; batches that were not taken are dropped."""
        self._given.clear()
        self._turn = 0
        while self._helpers:
            self._helpers.pop().close()


class _Helper:
    """A process that decodes what it is given, and answers in that order."""

    def __init__(self, decoder: JsonDecoder, descriptors: Collection[int]) -> None:
        self._slots = [mmap.mmap(-1, SLOT_SIZE) for _ in range(_SLOTS)]
        self._process = DecoderProcess(partial(_serve, decoder, self._slots), descriptors)
        self._given = self._taken = 0

    def give(self, records: Sequence[bytes]) -> bool:
        """Have these decoded; return False where they are too large."""
        content = pack(records)
        if len(content) > SLOT_SIZE:
            return False
        slot = self._given % _SLOTS
        self._slots[slot][: len(content)] = content
        self._given += 1
        self._process.channel.send(Records(slot, len(records), len(content)))
        return True

    def wait(self, timeout: float | None) -> int | None:
        """Return the size of the next lines, 0 for none; None where there is no answer yet."""
        try:
            message = self._process.receive(timeout)
        except DecoderKilledError as error:
            raise RetisError(
                f"a process that helps to decode events has {error}; was memory short?"
                " '--decoders 0' does without"
            ) from None
        if message is None:
            return None
        assert isinstance(message, Lines)  # noqa: S101 (they say nothing else)
        return message.size

    def take(self, size: int) -> bytes:
        """Return the lines that were waited for."""
        slot = self._slots[self._taken % _SLOTS]
        self._taken += 1
        return slot[:size]

    def close(self) -> None:
        self._process.close()
        for slot in self._slots:
            slot.close()


def _serve(decoder: JsonDecoder, slots: Sequence[mmap.mmap], channel: Channel) -> int:
    """Be the helper, until the other process has ended."""
    while isinstance(message := channel.receive(None), Records):
        slot = slots[message.slot]
        try:
            lines = b"".join(decoder.lines(unpack(slot[: message.size], message.count)))
        except Exception as error:  # the other one finds it, too, and says so in its place
            log.debug("a batch that is left to the other process: %s", error)
            lines = b""
        if len(lines) > SLOT_SIZE:
            lines = b""
        slot[: len(lines)] = lines
        channel.send(Lines(len(lines)))
    return 0


def pack(records: Sequence[bytes]) -> bytes:
    """Put records into one piece: their lengths, then themselves."""
    return b"".join([array("I", map(len, records)).tobytes(), *records])


def unpack(content: bytes, count: int) -> list[bytes]:
    """Take apart what ``pack`` put together."""
    lengths = struct.unpack_from(f"={count}I", content)
    bounds = [4 * count]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    return [content[start:end] for start, end in pairwise(bounds)]
