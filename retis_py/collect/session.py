"""A collection while it runs: compile, load, attach, then records to the spool until it is over."""

import logging
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from retis_py.collect.attach import Attached, attach_all, attach_function
from retis_py.collect.compiler import Compiler
from retis_py.collect.describe import describe
from retis_py.collect.drain import Drainer
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.loader import Loader
from retis_py.collect.losses import Losses, read_losses
from retis_py.collect.maps import MapType
from retis_py.collect.own_symbols import symbols_of
from retis_py.collect.perfbuffer import perf_buffers
from retis_py.collect.plan import Plan
from retis_py.collect.privileges import Trial
from retis_py.collect.probe_stack import StackProber
from retis_py.collect.program import ring_names
from retis_py.collect.ring import RecordSource, RingBuffer
from retis_py.collect.rings import Rings
from retis_py.collect.spool import NoRoomError, Spool
from retis_py.collect.stale import StaleEntries
from retis_py.errors import RetisError
from retis_py.kernel.capabilities import Capability
from retis_py.kernel.host import Host
from retis_py.probes.probe import Probe
from retis_py.probes.resolve import MAX_PROBES

if TYPE_CHECKING:
    from retis_py.collect.user_probes import UserProbes

log = logging.getLogger(__name__)

# A program that runs on another CPU when probes are detached ends within this time (s).
_GRACE = 0.02

# How long (s) the end waits for room in the spool while decoding does not go on either.
_PATIENCE = 2.0


# Probes that are added later; their programs' and functions' addresses.
_TO_ATTACH = frozenset({Capability.BPF, Capability.PERFMON, Capability.SYSLOG})
# Above it, which is Debian's own addition and its default, kprobes take CAP_SYS_ADMIN.
_PERFMON_ENOUGH = 2
_TO_PROBE_PROCESSES = frozenset(
    {Capability.SYS_ADMIN, Capability.SYS_PTRACE, Capability.DAC_READ_SEARCH}
)


class Session:
    """A running collection; to be used in a ``with`` statement, which ends it.

    ``tracking_entries`` is how many packets can be tracked at a time.
    """

    def __init__(
        self,
        plan: Plan,
        compiler: Compiler,
        host: Host,
        spool: Spool,
        *,
        rings: Rings,
        tracking_entries: int,
    ) -> None:
        compiled = compiler.compile(plan.program.text, plan.program.functions)
        names = ring_names(rings.number)
        is_ring = next(m.type for m in compiled.maps if m.name == "events") == MapType.RINGBUF
        sizes = {
            **dict.fromkeys(names, rings.size if is_ring else host.highest_cpu + 1),
            # An entry for each probe and cause, and some for what should not happen.
            "tracked_packets": tracking_entries,
            "losses": 4 * (MAX_PROBES if plan.stack_probing else len(plan.probes)) + 64,
        }
        self._loader = Loader(compiled, sizes)
        self._attached: list[Attached] = []
        self._known = KnownProbes(plan.probes)
        self._plan = plan
        self._host = host
        self._spool = spool
        self._has_stacks = any(probe.stack for probe in plan.probes)
        self._losses: Losses | None = None
        self.stale = StaleEntries(self._loader.maps)
        self._user_probes = self._make_user_probes()
        self._prober = None
        if plan.stack_probing is not None:
            resolver = plan.stack_probing.resolver
            self._prober = StackProber(resolver, self._attach_function, plan.probes)
        maps = self._loader.maps
        sources: list[RecordSource]
        if is_ring:
            sources = [RingBuffer(maps[name], rings.size) for name in names]
        else:
            sources = perf_buffers(maps["events"], rings.total, host.online_cpu_numbers)
        self._rings = len(sources)
        self._drainer = Drainer(spool, sources, rings.size, self._known)

    def describe(self, startup: bytes) -> None:
        """Begin the spool with what is needed to decode it, and the startup event (JSON).

        Raises:
            RetisError: there is no room for it.
        """
        try:
            self._spool.describe(describe(self._plan, self._known, startup, self._rings))
        except NoRoomError as error:
            raise RetisError(f"cannot write {self._spool.name}: {error}") from None
        self._known.told()

    def attach(self) -> int:
        """Attach all probes and return how many there are.

        Raises:
            RetisError: the kernel refuses one that was named.
        """
        # User space first: what the kernel queues is to be seen when it is received.
        if self._user_probes is not None:
            self._add_attached(self._user_probes.attach())
        self._add_attached(attach_all(self._loader, self._plan))
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
        self._drainer.close()
        self._loader.close()

    def step(self) -> float:
        """Move the events that there are to the spool, and do what is due beside.

        Return how long (s) to wait before the next time.
        """
        self._drainer.round()
        self.stale.collect_if_due()
        if self._user_probes is not None:
            self._add_attached(self._user_probes.look_if_due())
        return self._drainer.wait

    def probe_functions(self, names: list[str]) -> None:
        """Probe functions that showed in stacks, those that are usable."""
        if self._prober is not None:
            for name in names:
                self._prober.probe(name)

    @property
    def privileges(self) -> frozenset[Capability]:
        """What it goes on to need while it runs."""
        needed = frozenset[Capability]()
        if self._prober is not None:
            needed |= _TO_ATTACH
            if (self._host.sysctl("kernel.perf_event_paranoid") or 0) > _PERFMON_ENOUGH:
                needed |= {Capability.SYS_ADMIN}
        if self._user_probes is not None:
            needed |= _TO_ATTACH | _TO_PROBE_PROCESSES
        return needed

    @property
    def trials(self) -> list[Trial]:
        """What must go on to work: maps are read until the end."""
        maps = [found for found in self._loader.maps.values() if found.definition.name == "losses"]
        return [Trial(lambda: all(m.readable for m in maps), frozenset({Capability.BPF}))]

    def stop(self, *, wanted: bool = True) -> None:
        """Detach all probes and fetch what is left; may be called again.

        Waits for room in the spool as long as decoding goes on, if what is left is ``wanted``.
        """
        if self._losses is not None:
            return
        # The kernel's count for a program goes with it.
        while_attached = self.losses()
        self._loader.detach()
        self._drainer.round()
        time.sleep(_GRACE)
        if wanted:
            self._fetch_rest()
        self._losses = while_attached | self.losses()
        if wanted:
            self._losses += self._drainer.give_up()
        self.stale.count_rest()
        self._spool.control.finished = True

    def losses(self) -> Losses:
        """Return what was lost so far, by probe and cause."""
        if self._losses is not None:
            return self._losses
        attached = self._attached if self._loader.attached else ()
        return read_losses(self._loader, attached, self._known)

    def _make_user_probes(self) -> "UserProbes | None":
        requests = [each for collector in self._plan.collectors for each in collector.usdt_probes()]
        if not requests:
            return None
        from retis_py.collect.user_probes import UserProbes  # noqa: PLC0415 (few have any)

        return UserProbes(self._loader, self._known, requests)

    def _add_attached(self, attached: Iterable[Attached]) -> None:
        for each in attached:
            self._attached.append(each)
            if self._has_stacks:
                self._known.add_symbols(symbols_of((each.program, *each.spares)))

    def _fetch_rest(self) -> None:
        control = self._spool.control
        decoded, deadline = control.decoded, time.monotonic() + _PATIENCE
        while True:
            moved = self._drainer.round()
            if not moved and not self._drainer.blocked:
                return
            if control.decoded != decoded or moved:
                decoded, deadline = control.decoded, time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                return
            if self._drainer.blocked:
                time.sleep(_GRACE)

    def _attach_function(self, probe: Probe) -> bool:
        if not self._loader.attached:
            return False  # what comes now is what was left
        attached = attach_function(self._loader, self._plan, probe)
        if attached:
            self._known.add_function(probe)
            self._add_attached(attached)
        return bool(attached)
