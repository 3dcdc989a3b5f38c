"""``--probe-stack``: what shows in the stacks of events is probed as the collection goes on."""

import logging
from collections.abc import Callable, Iterable

from retis_py.events.event import Event
from retis_py.probes.probe import Probe
from retis_py.probes.resolve import MAX_PROBES, Resolver

log = logging.getLogger(__name__)


class StackProber:
    """Looks at each event once; hands each function that is new and usable to ``attach``.

    ``hidden`` are the probes whose stacks nobody asked to see: they are taken off the events.
    """

    def __init__(
        self,
        resolver: Resolver,
        attach: Callable[[Probe], bool],
        probes: Iterable[Probe],
        hidden: frozenset[str],
        show_all: bool,
    ) -> None:
        self._resolver = resolver
        self._attach = attach
        self._hidden = hidden
        self._show_all = show_all
        self._seen = {probe.symbol for probe in probes}
        self._count = len(self._seen)
        self._found: set[str] = set()

    def see(self, event: Event) -> None:
        """Probe what the event's stack shows."""
        kernel = event.kernel
        if kernel is None or kernel.stack_trace is None:
            return
        for frame in kernel.stack_trace:
            name = frame.partition("+")[0]
            if name not in self._seen:
                self._seen.add(name)
                self._probe(name)
        if not self._show_all and (kernel.symbol in self._hidden or kernel.symbol in self._found):
            kernel.stack_trace = None

    def _probe(self, name: str) -> None:
        if self._count >= MAX_PROBES:
            if self._count == MAX_PROBES:
                log.warning("no more functions are probed: there are %d probes", MAX_PROBES)
                self._count += 1
            return
        probe = self._resolver.find_function(name)
        if probe is not None and self._attach(probe):
            self._count += 1
            self._found.add(name)
            log.debug("probing %s, seen in a stack", name)
