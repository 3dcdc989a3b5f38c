"""What a collection is going to do: its collectors, its probes and its program."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from retis_py.collect.program import Program, ProgramOptions, assemble
from retis_py.collectors.collector import Collector
from retis_py.collectors.registry import CollectorOptions, choose_collectors
from retis_py.errors import UsageError
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes.probe import Probe, ProbeRequest, parse_probe
from retis_py.probes.resolve import Resolver, Types

log = logging.getLogger(__name__)

DEFAULT_PROBES = ("tp:net:netif_receive_skb", "tp:net:net_dev_start_xmit")


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What was asked for; ``defaults`` allows the default probes where none is named."""

    collectors: tuple[str, ...] = ()
    probes: tuple[ProbeRequest, ...] = ()
    stack: bool = False
    defaults: bool = True
    perf_buffer: bool = False
    load_each: bool = False
    collector_options: CollectorOptions = field(default_factory=CollectorOptions)


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to compile, load and attach."""

    collectors: Sequence[Collector]
    probes: Sequence[Probe]
    program: Program
    load_each: bool


def make_plan(options: PlanOptions, host: Host, tracefs: Tracefs | None) -> Plan:
    """Choose collectors, find probes and put the program together.

    Raises:
        UsageError: what was asked for makes no sense on this kernel.
        MissingPrerequisite: this machine lacks what was asked for.
    """
    types = Types(Btf.vmlinux())
    collectors = choose_collectors(options.collectors, options.collector_options, host, types)
    log.info("Collector(s) started: %s", ", ".join(c.name for c in collectors))

    requests = list(options.probes)
    if not requests and options.defaults:
        requests = [parse_probe(text) for text in DEFAULT_PROBES]
        log.info("No probe(s) given: using %s", ", ".join(DEFAULT_PROBES))
    for collector in collectors:
        requests.extend(parse_probe(text) for text in collector.probes())
    if options.stack:
        requests = [replace(request, stack=True) for request in requests]
    if not requests:
        raise UsageError(
            f"nothing to probe: the collectors {', '.join(c.name for c in collectors)}"
            " install no probes of their own; name some with --probe"
        )

    feeds = frozenset[str]().union(*(c.feeds for c in collectors))
    probes = Resolver(host, types, feeds, tracefs).resolve(requests)
    program = assemble(
        collectors,
        {probe.type for probe in probes},
        types,
        ProgramOptions(
            perf_buffer=options.perf_buffer,
            tracking=any(c.name == "skb-tracking" for c in collectors),
        ),
    )
    return Plan(collectors, probes, program, options.load_each)
