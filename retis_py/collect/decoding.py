"""The process that decodes: chunks of the spool to events, in order, as they come.

It may fall behind. What it has handed on, to where it is safe, it notes in the spool's control
page; so whatever ends it, the rest can be read later. Where only lines are wanted and it has fallen
behind it has helpers (decoding_pool.py): it reads, merges and writes, and they decode.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from itertools import chain
from typing import Protocol

from retis_py.collect.channel import Cancel, Channel, Command, Done, Enough, Go, Gone, Ready
from retis_py.collect.decoding_pool import Batch, DecodingPool
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collect.known_probes import tell
from retis_py.collect.merge import Merge
from retis_py.collect.own_symbols import OwnSymbols
from retis_py.collect.probe_stack import StackWatcher
from retis_py.collect.spool import Spool
from retis_py.collect.spool_format import FIRST_CHUNK, PAGE, Description, Kind
from retis_py.collect.spool_reader import chunk_at, content_of, description_of
from retis_py.events.event import Event
from retis_py.kernel.libc import give_back_memory, punch_hole

log = logging.getLogger(__name__)

# Between two looks at what else there is (20 to 50 ms).
_AT_ONCE = 2000  # records
_READ_AHEAD = 4 << 20  # bytes
_ENOUGH_WAITING = 4 * _AT_ONCE  # records

_SHORTEST, _LONGEST = 0.002, 0.02  # s, between two looks at a spool with nothing new in it

# s, at least, from one time that free memory is given back to the next, with nothing else to do.
# What a burst took would stay else, and the largest burst of all is still to come.
_TRIM_EVERY = 1.0

# Given back to the file system when it is so much (bytes), or an eighth of the limit.
_FREED_AT_ONCE = 8 << 20


class Output(Protocol):
    """Where events go. What it raises (RetisError) ends the collection."""

    @property
    def wants_events(self) -> bool:
        """Whether ``events`` is to be called; else ``lines``."""

    @property
    def closed(self) -> bool:
        """Whether nobody wants more."""

    @property
    def written(self) -> int:
        """How many events are in the file."""

    @property
    def pieces(self) -> int:
        """How many files a rotated output has become."""

    def open(self, startup: bytes) -> None:
        """Open it, with the startup event (JSON)."""

    def events(self, events: Sequence[Event]) -> None:
        """Take events."""

    def lines(self, lines: bytes) -> None:
        """Take events as lines of the file."""

    def flush(self) -> None:
        """Bring what was taken to where it stays if this process is killed."""


class Enricher(Protocol):
    """Adds events of its own to those that it sees."""

    def start(self) -> None:
        """Begin, in this process."""

    def see(self, event: Event) -> None:
        """Look at an event."""

    def poll(self) -> list[Event]:
        """Return the events that there are to add."""

    def finish(self) -> list[Event]:
        """Return the last ones: nothing is to be seen any more."""


class Decoding:
    """Decodes a spool that another process fills.

    ``symbols`` are those that ``decoder`` resolves by. ``limit`` is how many events are wanted at
    most. ``give_up_privileges`` is called once the outputs are open. ``helpers`` is how many other
    processes may decode, too; ``shared`` are the descriptors that ``decoder`` needs there.
    """

    def __init__(
        self,
        spool: Spool,
        channel: Channel,
        decoder: JsonDecoder,
        output: Output,
        *,
        symbols: OwnSymbols,
        give_up_privileges: Callable[[], None],
        watcher: StackWatcher | None = None,
        enricher: Enricher | None = None,
        limit: int | None = None,
        helpers: int = 0,
        shared: Collection[int] = (),
    ) -> None:
        self._descriptor = spool.descriptor
        self._control = spool.control
        self._channel = channel
        self._decoder = decoder
        self._symbols = symbols
        self._output = output
        self._give_up_privileges = give_up_privileges
        self._watcher = watcher
        self._enricher = enricher
        self._limit = limit
        self._pool = DecodingPool(decoder, helpers, shared)
        self._at = FIRST_CHUNK
        self._merge = Merge(1, self._control.decoded)
        self._orphaned = False
        self._cancelled = False
        self._command: Command | None = None
        self._punch_at = min(_FREED_AT_ONCE, spool.limit // 8)
        self._freed_to = FIRST_CHUNK
        self._kept: list[tuple[int, int]] = []  # descriptions: from, to

    def run(self) -> bool:
        """Decode until all is done, or it is told to stop; return whether it was cut off.

        Raises:
            RetisError: an output failed, or a record is not as the program makes them (a bug).
        """
        if not isinstance(self._channel.receive(None), Go):
            return False  # the collection failed before it had begun
        self._begin()
        self._channel.send(Ready())
        self._output.flush()  # from now on the file is one that can be read
        self._control.keep_from_children()
        with closing(self._pool):
            self._decode_all()
        if self._enricher is not None:
            self._hand_on(self._enricher.finish())
        self._output.flush()
        self._channel.send(Done(self._output.pieces))
        return self._orphaned

    def end_command(self) -> None:
        """End the command that should have ended with the collection, whose process is gone."""
        command, self._command = self._command, None
        if command is not None:
            with suppress(OSError):  # it has ended, or is another user's by now
                end = os.killpg if command.has_group else os.kill
                end(command.pid, signal.SIGTERM)

    def _decode_all(self) -> None:
        wait = _SHORTEST
        trim_at = time.monotonic() + _TRIM_EVERY
        while True:
            # In this order: what is clear is committed by then, and all when it is finished.
            finished, clear = self._control.finished or self._orphaned, self._control.clear_until
            committed = self._control.committed
            self._read(committed)
            if self._at >= committed:
                self._merge.clear(clear)
                if finished:
                    self._merge.finish()
            handed = self._hand_over()
            if not handed and self._at >= committed and self._control.blocked:
                self._merge.release()
                handed = self._hand_over()
            if self._is_over() or (finished and self._at >= committed):
                break
            # What was read may have to wait for other rings: then more has to be read.
            wait = _SHORTEST if handed else min(wait * 2, _LONGEST)
            self._listen(0 if handed or self._at < committed else wait)
            if self._at >= committed and time.monotonic() > trim_at:
                give_back_memory()
                trim_at = time.monotonic() + _TRIM_EVERY
        if not self._is_over():
            self._fetch(0)

    def _begin(self) -> None:
        placed = chunk_at(self._descriptor, FIRST_CHUNK, self._control.committed)
        assert placed is not None  # noqa: S101 (written before Go)
        description = description_of(self._descriptor, placed)
        self._kept.append((placed.offset, placed.end))
        self._merge = Merge(description.rings, self._control.decoded)
        self._at = placed.end
        self._output.open(bytes(description.startup))
        self._give_up_privileges()
        if self._enricher is not None:
            self._enricher.start()

    def _read(self, committed: int) -> None:
        """Read some chunks, one at least if there is one."""
        begin = self._at
        while self._at < committed and (
            self._at == begin
            or (self._at - begin < _READ_AHEAD and self._merge.waiting < _ENOUGH_WAITING)
        ):
            placed = chunk_at(self._descriptor, self._at, committed)
            assert placed is not None, self._at  # noqa: S101 (committed)
            if placed.chunk.kind is Kind.RECORDS:
                content = content_of(self._descriptor, placed)
                self._merge.add(placed.chunk, placed.offset, content, placed.end)
            else:
                self._learn(description_of(self._descriptor, placed))
                self._kept.append((placed.offset, placed.end))
            self._at = placed.end

    def _learn(self, description: Description) -> None:
        # Helpers know what was known when they were started.
        self._fetch(0)
        self._pool.close()
        probes = tell(self._decoder, description)
        self._symbols.add(description.symbols)
        if self._watcher is not None:
            for probe in probes:
                self._watcher.hide(probe.symbol)

    def _hand_over(self) -> int:
        """Hand on what is in order, and look at messages in between; return how many that were.

        What helpers have is handed on, too, if there is nothing else to do.
        """
        count = 0
        while not self._is_over() and (records := self._merge.take(self._most())):
            count += len(records)
            batch = Batch(records, self._merge.decoded())
            if self._is_shared(records):
                self._pool.give(batch)
                self._fetch(self._pool.capacity - 1)
            else:
                self._decode(records)
                self._note(batch)
            self._listen(0)
        if not count and self._pool.waiting:
            count = self._fetch(self._pool.waiting - 1)
        if not count and self._enricher is not None and (events := self._enricher.poll()):
            self._hand_on(events)
            self._output.flush()
        return count

    def _most(self) -> int:
        if self._limit is None:
            return _AT_ONCE
        return min(_AT_ONCE, self._limit - self._control.events - self._pool.waiting_records)

    def _is_shared(self, records: Sequence[bytes]) -> bool:
        """Whether helpers are to decode these."""
        if self._pool.waiting:
            return True  # or these would be written before what they have
        # Not before something was decoded here: what that took, names of functions above all, they
        # then need not find out for themselves.
        begun = self._control.events > 0
        return begun and len(records) == _AT_ONCE and self._only_lines and self._pool.start()

    def _fetch(self, most: int) -> int:
        """Hand on what helpers have decoded; return how many records that were.

        Waits while they have more than ``most`` batches.
        """
        count = 0
        while waiting := self._pool.waiting:
            result = self._pool.take(None if waiting > most else 0)
            if result is None:
                break
            if result.lines is None:
                self._decode(result.batch.records)
            else:
                self._output.lines(result.lines)
            self._note(result.batch)
            count += len(result.batch.records)
        return count

    @property
    def _only_lines(self) -> bool:
        return self._watcher is None and self._enricher is None and not self._output.wants_events

    def _decode(self, records: Sequence[bytes]) -> None:
        decoder = self._decoder
        if self._only_lines:
            # Those before a damaged one are handed on.
            lines: list[bytes] = []
            try:
                lines.extend(decoder.lines(records))
            finally:
                self._output.lines(b"".join(lines))
            return
        events = []
        for record in records:
            event = decoder.decode(record)
            if self._watcher is not None:
                self._watcher.see(event)
            if self._enricher is not None:
                self._enricher.see(event)
            events.append(event)
        if self._enricher is not None:
            events += self._enricher.poll()
        self._hand_on(events)

    def _hand_on(self, events: list[Event]) -> None:
        if events:
            self._output.events(events)

    def _note(self, batch: Batch) -> None:
        """Make what was handed on up to this batch safe, say so, and give its place back."""
        self._output.flush()
        decoded = batch.decoded
        self._control.events += len(batch.records)
        self._control.set_decoded(decoded)
        if decoded.unread - self._freed_to >= self._punch_at:
            self._free(decoded.unread)
        if (self._limit is not None and self._control.events >= self._limit) or self._output.closed:
            self._channel.send(Enough())

    def _free(self, end: int) -> None:
        """Give back the pages before ``end``, apart from those with a description."""
        end -= end % PAGE  # the rest of that page goes with the next ones
        end = min([end, *(kept[0] for kept in self._kept if kept[1] > end)])
        between = [kept for kept in self._kept if kept[1] <= end]
        self._kept = self._kept[len(between) :]
        bounds = [self._freed_to, *chain(*between), end]
        self._freed_to = end
        freed = 0
        for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
            first, last = -(-start // PAGE) * PAGE, stop // PAGE * PAGE
            if last <= first:
                continue
            try:
                punch_hole(self._descriptor, first, last - first)
            except OSError as error:
                log.debug("the spool's limit is for the whole file: %s", error.strerror)
                self._punch_at = 1 << 62
                break
            freed += last - first
        self._control.freed += freed

    def _is_over(self) -> bool:
        reached = self._limit is not None and self._control.events >= self._limit
        return reached or self._cancelled or self._output.closed

    def _listen(self, timeout: float) -> None:
        message = self._channel.receive(timeout)
        if isinstance(message, Gone) and not self._orphaned:
            self._orphaned = True
            self.end_command()
        elif isinstance(message, Command):
            self._command = message
        elif isinstance(message, Cancel):
            self._cancelled = True
