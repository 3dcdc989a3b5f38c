"""Rings to the spool: in rounds over all of them, with no work for a single event."""

import logging
import os
import struct
import time
from collections.abc import Sequence

from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.losses import LossCause, Losses
from retis_py.collect.merge import MARGIN, split
from retis_py.collect.ring import RecordSource
from retis_py.collect.spool import NoRoomError, Spool
from retis_py.events.wire import HEADER
from retis_py.kernel.capabilities import may_lock_memory
from retis_py.kernel.libc import lock_memory

log = logging.getLogger(__name__)

# Rings are looked at at these intervals (s), the longer the less there is. A ring is to be half
# full at most then, at 1.5 million events of 240 bytes a second on the CPUs that it is for.
_SHORTEST, _LONGEST = 0.001, 0.02
_FASTEST = 360e6  # bytes a second

# Chunks of a ring in a round, so that no ring keeps the others waiting.
_TURNS = 16

_NICENESS = -10
_HEADER = struct.Struct("=" + HEADER.format)
_ALL = 1 << 62


class Drainer:
    """Moves what is in the rings, of ``ring_size`` bytes each, to the spool."""

    def __init__(
        self,
        spool: Spool,
        sources: Sequence[RecordSource],
        ring_size: int,
        known: KnownProbes,
    ) -> None:
        self._spool = spool
        self._sources = sources
        self._known = known
        self._longest = min(_LONGEST, max(_SHORTEST, ring_size / 2 / _FASTEST))
        self._wait = _SHORTEST
        self._begin = 0
        self._said_blocked = False

    @property
    def blocked(self) -> bool:
        """Whether the spool had no room for all there was."""
        return self._spool.control.blocked

    @property
    def wait(self) -> float:
        """How long (s) to wait before the next round."""
        return self._wait

    def round(self) -> int:
        """Move what there is; return how many records."""
        control = self._spool.control
        # One that was blocked goes on: of rings that it did not come to nothing is known.
        begin = self._begin if self.blocked else time.monotonic_ns()
        self._begin, before = begin, control.received
        all_clear = True
        try:
            if self._known.has_news:  # before the records of new probes
                self._spool.describe(self._known.describe())
                self._known.told()
            more = list(enumerate(self._sources))
            for _ in range(_TURNS):
                left = []
                for ring, source in more:
                    batch = self._spool.take(source, ring, begin)
                    all_clear = all_clear and (batch.complete or batch.limited)
                    if batch.limited:
                        left.append((ring, source))
                more = left
                if not more:
                    break
            control.blocked = False
            if all_clear and not more:
                control.clear_until = begin - MARGIN
        except NoRoomError as error:
            self._block(str(error))
        moved = control.received - before
        self._wait = _SHORTEST if moved else min(self._wait * 2, self._longest)
        return moved

    def give_up(self) -> Losses:
        """Take out what is left where there is no room for it; return what that was."""
        losses: Losses = Losses()
        for source in self._sources:
            while len((batch := source.peek(_ALL)).data):
                for _, record in split(bytes(batch.data)):
                    values = dict(zip(HEADER.fields, _HEADER.unpack_from(record), strict=True))
                    probe = self._known.probe(values["type"], values["probe"])
                    losses[str(probe), LossCause.SPOOL_FULL] += 1
                size = len(batch.data)
                del batch
                source.advance(size)
        return losses

    def close(self) -> None:
        """Give the rings' memory back."""
        for source in self._sources:
            source.close()

    def _block(self, reason: str) -> None:
        self._spool.control.blocked = True
        if not self._said_blocked:
            log.warning(
                "%s takes no more events for now (%s), and those that the buffer cannot hold are"
                " lost: decoding is too slow (leave out --print or stacks), or needs more room"
                " (--spool-limit, on a file system that has it)",
                self._spool.name,
                reason,
            )
        self._said_blocked = True


def raise_priority() -> None:
    """Be early rather than late where the kernel allows it: before all others, never swapped out.

    A real-time priority, since others count within a session only (sched_autogroup). The process
    sleeps a millisecond at least between rounds, and the kernel leaves others 5 % of the time
    anyhow (sched_rt_runtime_us). Processes that are started later have the normal priority.
    """
    try:
        lowest = os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, lowest)
    except OSError as error:
        log.debug("no real-time priority: %s", error.strerror)
        try:
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
        except OSError as refused:
            log.debug("the priority stays as it is: %s", refused.strerror)
    try:
        # Within a limit it would lock at first, and then have no room to grow.
        if may_lock_memory():
            lock_memory()
    except OSError as error:
        log.debug("memory is not locked: %s", error.strerror)


def lower_priority() -> None:
    """Be as others are again."""
    try:
        # Taking the flag back would be a privilege.
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    except OSError as error:
        log.debug("the priority stays as it is: %s", error.strerror)
