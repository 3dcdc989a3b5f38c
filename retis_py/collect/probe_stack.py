"""``--probe-stack``: what shows in the stacks of events is probed as the collection goes on.

The process that decodes sees stacks; the one that collects attaches.
"""

import logging
from collections.abc import Callable, Iterable

from retis_py.events.event import Event
from retis_py.probes.probe import Probe
from retis_py.probes.resolve import MAX_PROBES, Resolver

log = logging.getLogger(__name__)


class StackWatcher:
    """Looks at each event once; hands the names of functions that are new to ``found``.

    ``hidden`` are the probes whose stacks nobody asked to see: they are taken off the events.
    """

    def __init__(
        self,
        found: Callable[[list[str]], None],
        probes: Iterable[Probe],
        hidden: Iterable[str],
        show_all: bool,
    ) -> None:
        self._found = found
        self._hidden = set(hidden)
        self._show_all = show_all
        self._seen = {probe.symbol for probe in probes}

    def hide(self, symbol: str) -> None:
        """Know a probe that is attached from now on, since it showed in a stack."""
        self._hidden.add(symbol)

    def see(self, event: Event) -> None:
        """Look for functions in the event's stack."""
        kernel = event.kernel
        if kernel is None or kernel.stack_trace is None:
            return
        names = {frame.partition("+")[0] for frame in kernel.stack_trace}
        new = names - self._seen
        if new:
            self._seen |= new
            self._found(sorted(new))
        if not self._show_all and kernel.symbol in self._hidden:
            kernel.stack_trace = None


class StackProber:
    """Probes the functions that were seen, those that are usable."""

    def __init__(
        self, resolver: Resolver, attach: Callable[[Probe], bool], probes: Iterable[Probe]
    ) -> None:
        self._resolver = resolver
        self._attach = attach
        self._count = len({probe.symbol for probe in probes})

    def probe(self, name: str) -> None:
        """Probe a function that was not probed before."""
        if self._count >= MAX_PROBES:
            if self._count == MAX_PROBES:
                log.warning("no more functions are probed: there are %d probes", MAX_PROBES)
                self._count += 1
            return
        probe = self._resolver.find_function(name)
        if probe is not None and self._attach(probe):
            self._count += 1
            log.debug("probing %s, seen in a stack", name)
