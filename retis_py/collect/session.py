"""A collection while it runs: compile, load, attach, then records to events until it is over."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from retis_py.collect.attach import Attached, attach_all, attach_function
from retis_py.collect.compiler import Compiler
from retis_py.collect.decode import Decoder
from retis_py.collect.loader import Loader, MapType
from retis_py.collect.losses import Losses, read_losses
from retis_py.collect.perfbuffer import PerfBuffers
from retis_py.collect.plan import Plan
from retis_py.collect.probe_stack import StackProber
from retis_py.collect.ring import RecordSource, RingBuffer
from retis_py.collect.stale import StaleEntries
from retis_py.collect.user_probes import UserProbes
from retis_py.events.event import Event
from retis_py.kernel.host import Host
from retis_py.probes.probe import Probe
from retis_py.probes.resolve import MAX_PROBES

log = logging.getLogger(__name__)

# Records are fetched at these intervals (s), the longer the less there is to fetch. At a million
# events of 240 bytes a second 16 MiB last for 70 ms.
_SHORTEST, _LONGEST = 0.001, 0.02

# Between two looks at the ring this many records are decoded, in some 20 ms.
_DECODED_AT_ONCE = 1000

# Records that wait to be decoded: beyond this many bytes the ring is left to fill, so that what
# does not fit is counted by the kernel and memory stays bounded.
_BACKLOG_LIMIT = 256 << 20

# A program that runs on another CPU when probes are detached ends within this time (s).
_GRACE = 0.02


class Session:
    """A running collection; to be used in a ``with`` statement, which ends it.

    ``buffer_size`` is that of the ring buffer in bytes, a power of two and a multiple of the page
    size; ``tracking_entries`` how many packets can be tracked at a time.
    """

    def __init__(
        self,
        plan: Plan,
        compiler: Compiler,
        host: Host,
        buffer_size: int,
        tracking_entries: int,
    ) -> None:
        compiled = compiler.compile(plan.program.text, plan.program.functions)
        ring_type = next(m.type for m in compiled.maps if m.name == "events")
        sizes = {
            "events": buffer_size if ring_type == MapType.RINGBUF else host.highest_cpu + 1,
            # An entry for each probe and cause, and some for what should not happen.
            "tracked_packets": tracking_entries,
            "losses": 4 * (MAX_PROBES if plan.stack_probing else len(plan.probes)) + 64,
        }
        self._loader = Loader(compiled, sizes)
        self._attached: list[Attached] = []
        self._decoder = Decoder(plan.program.parts, plan.probes, host.symbols.resolve)
        self._plan = plan
        self._buffer_size = buffer_size
        self._backlog: deque[bytes] = deque()
        self._backlog_size = 0
        self._losses: Losses | None = None
        self.events = 0
        self.stale = StaleEntries(self._loader.maps)
        self._user_probes = UserProbes(
            self._loader,
            self._decoder,
            [request for collector in plan.collectors for request in collector.usdt_probes()],
        )
        self._prober = None
        if plan.stack_probing is not None:
            self._prober = StackProber(
                plan.stack_probing.resolver,
                self._attach_function,
                plan.probes,
                plan.stack_probing.hidden,
                plan.stack_probing.show_all,
            )
        events = self._loader.maps["events"]
        self._source: RecordSource
        if ring_type == MapType.RINGBUF:
            self._source = RingBuffer(events, buffer_size)
        else:
            self._source = PerfBuffers(events, buffer_size, host.online_cpu_numbers)

    def attach(self) -> int:
        """Attach all probes and return how many there are.

        Raises:
            RetisError: the kernel refuses one that was named.
        """
        # User space first: what the kernel queues is to be seen when it is received.
        self._attached = self._user_probes.attach()
        self._attached += attach_all(self._loader, self._plan)
        return len({str(p) for attached in self._attached for p in attached.probes})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loader.detach()
        self._source.close()
        self._loader.close()

    def run(
        self,
        handle: Callable[[Event], None],
        is_over: Callable[[], bool],
        idle: Callable[[], None],
        limit: int | None = None,
    ) -> None:
        """Hand events over until ``is_over`` says so, then those that are left.

        ``idle`` is called whenever all events there are were handed over, and every 20 ms or so
        in between. At most ``limit`` events are handed over in all.
        """
        wait = _SHORTEST
        while not is_over():
            fetched = self._fetch()
            self.stale.collect_if_due()
            self._attached += self._user_probes.look_if_due()
            if self._hand_over(handle, limit, _DECODED_AT_ONCE):
                return
            idle()
            if self._backlog:
                continue
            wait = _SHORTEST if fetched else min(wait * 2, _LONGEST)
            time.sleep(wait)
        self.stop()
        while self._backlog:
            if self._hand_over(handle, limit, _DECODED_AT_ONCE):
                return
            idle()

    @property
    def pending(self) -> int:
        """How many events were received and not handed over yet."""
        return len(self._backlog)

    def stop(self) -> None:
        """Detach all probes and fetch what is left."""
        # The kernel's count for a program goes with it.
        while_attached = self.losses()
        self._loader.detach()
        self._fetch(limited=False)
        time.sleep(_GRACE)
        self._fetch(limited=False)
        self._losses = while_attached | self.losses()
        self.stale.count_rest()

    def losses(self) -> Losses:
        """Return what was lost so far, by probe and cause."""
        if self._losses is not None:
            return self._losses
        attached = self._attached if self._loader.attached else ()
        return read_losses(self._loader, attached, self._decoder)

    def _attach_function(self, probe: Probe) -> bool:
        if not self._loader.attached:
            return False  # what comes now is what was left
        attached = attach_function(self._loader, self._plan, probe)
        if attached:
            self._decoder.add_function(probe)
            self._attached.extend(attached)
        return bool(attached)

    def _fetch(self, limited: bool = True) -> int:
        room = _BACKLOG_LIMIT - self._backlog_size if limited else self._buffer_size
        records = self._source.drain(room) if room > 0 else []
        self._backlog.extend(records)
        self._backlog_size += sum(map(len, records))
        return len(records)

    def _hand_over(self, handle: Callable[[Event], None], limit: int | None, count: int) -> bool:
        """Decode some records; return whether the limit is reached."""
        for _ in range(min(count, len(self._backlog))):
            if limit is not None and self.events >= limit:
                return True
            record = self._backlog.popleft()
            self._backlog_size -= len(record)
            event = self._decoder.decode(record)
            self.events += 1
            if self._prober is not None:
                self._prober.see(event)
            handle(event)
        return limit is not None and self.events >= limit


def size_of_ring(asked: int) -> int:
    """Return the smallest size that a ring can have to hold ``asked`` bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return max(page, 1 << (asked - 1).bit_length())
