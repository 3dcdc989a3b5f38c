"""The probes of a collection as they become known, and what the spool has been told of them."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from retis_py.collect.own_symbols import Symbol
from retis_py.collect.probe_table import ProbeTable
from retis_py.collect.spool_format import DescribedProbe, Description
from retis_py.probes.probe import Probe, ProbeType, UserProbe


class ProbeRegistry(Protocol):
    """Who wants to know of probes: the decoder, or what stands for it in another process."""

    programs: dict[int, str]

    def add_function(self, probe: Probe) -> None:
        """Know a function that is attached from now on."""

    def add_user_probe(self, index: int, probe: UserProbe) -> None:
        """Know a USDT probe that is attached from now on, with its program's number."""


class KnownProbes:
    """Tracepoints and USDT probes by number, functions by address; processes' programs."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = ProbeTable(probes)
        self.programs: dict[int, str] = {}
        self._news: list[DescribedProbe] = []
        self._told: dict[int, str] = {}
        self._symbols: list[Symbol] = []
        for index, probe in enumerate(probes):
            key = index if probe.type is ProbeType.RAW_TRACEPOINT else probe.address
            self._news.append(DescribedProbe(probe.type, probe.symbol, key))

    def add_function(self, probe: Probe) -> None:
        """Know a function that is attached from now on."""
        self._probes.add_function(probe)
        self._news.append(DescribedProbe(probe.type, probe.symbol, probe.address))

    def add_user_probe(self, index: int, probe: UserProbe) -> None:
        """Know a USDT probe that is attached from now on, with its program's number."""
        self._probes.add_user_probe(index, probe)
        self._news.append(DescribedProbe(ProbeType.USDT, probe.symbol, index, probe.path))

    def add_symbols(self, symbols: Iterable[Symbol]) -> None:
        """Know symbols of our own programs, for stacks."""
        self._symbols += symbols

    def probe(self, kind: int, key: int) -> Probe | UserProbe | None:
        """Return the probe with that number of its type and that index or address."""
        return self._probes.get((kind, key))

    @property
    def has_news(self) -> bool:
        """Whether there is something that ``describe`` did not return yet."""
        return bool(self._news or self._symbols) or self.programs != self._told

    def describe(self) -> Description:
        """Return what became known since the last ``told``."""
        programs = dict(self.programs.items() - self._told.items())
        return Description(probes=list(self._news), symbols=list(self._symbols), programs=programs)

    def told(self) -> None:
        """Take what is known now as told."""
        self._news.clear()
        self._symbols.clear()
        self._told = dict(self.programs)


def tell(registry: ProbeRegistry, description: Description) -> list[Probe]:
    """Make a decoder know what a description says; return the functions and tracepoints.

    Raises:
        ValueError: a probe's type is unknown.
    """
    found = []
    registry.programs.update(description.programs)
    for described in description.probes:
        kind = ProbeType(described.type)
        if kind is ProbeType.USDT:
            user_probe = UserProbe(described.symbol, described.path or "")
            registry.add_user_probe(described.key, user_probe)
            continue
        probe = Probe(kind, described.symbol, (), address=described.key)
        if kind is not ProbeType.RAW_TRACEPOINT:
            registry.add_function(probe)
        found.append(probe)
    return found
