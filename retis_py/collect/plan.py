"""What a collection is going to do: its collectors, its probes and its program."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from retis_py.collect.followed import FollowedProbe, find_followed
from retis_py.collect.program import Program, ProgramOptions, assemble
from retis_py.collectors.collector import Collector
from retis_py.collectors.registry import CollectorOptions, choose_collectors
from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes.available import Types
from retis_py.probes.probe import Probe, ProbeRequest, ProbeType, parse_probe
from retis_py.probes.resolve import Resolver

if TYPE_CHECKING:
    from retis_py.filters.packet import PacketFilter

log = logging.getLogger(__name__)

DEFAULT_PROBES = ("tp:net:netif_receive_skb", "tp:net:net_dev_start_xmit")
STACK_PROBES = ("tp:skb:kfree_skb", "tp:skb:consume_skb")


class PlanOptions(Struct, frozen=True):
    """What was asked for; ``defaults`` allows the default probes where none is named."""

    collectors: tuple[str, ...] = ()
    probes: tuple[ProbeRequest, ...] = ()
    stack: bool = False
    probe_stack: bool = False
    defaults: bool = True
    packet_filter: str | None = None
    meta_filter: str | None = None
    perf_buffer: bool = False
    rings: int = 1
    load_each: bool = False
    collector_options: CollectorOptions = field(default_factory=CollectorOptions)


class Plan(Struct, frozen=True):
    """What there is to compile, load and attach."""

    collectors: Sequence[Collector]
    probes: Sequence[Probe]
    program: Program
    followed: Sequence[FollowedProbe]
    load_each: bool
    types: Types
    collector_options: CollectorOptions
    stack_probing: "StackProbing | None" = None


class StackProbing(Struct, frozen=True):
    """What ``--probe-stack`` needs: who finds functions, and which stacks are not to be shown."""

    resolver: Resolver
    hidden: frozenset[str]
    show_all: bool


def make_plan(options: PlanOptions, host: Host, tracefs: Tracefs | None) -> Plan:
    """Choose collectors, find probes and put the program together.

    Raises:
        UsageError: what was asked for makes no sense on this kernel.
        MissingPrerequisite: this machine lacks what was asked for.
    """
    types = Types(Btf.vmlinux())
    collectors = choose_collectors(options.collectors, options.collector_options, host, types)
    log.info("Collector(s) started: %s", ", ".join(c.name for c in collectors))
    if options.collector_options.ovs_track and all(c.name != "ovs" for c in collectors):
        log.warning("--ovs-track follows no packets: the collector ovs is not among them")
    if options.collector_options.ovs_enrich_flows and all(c.name != "ovs" for c in collectors):
        log.warning("--ovs-enrich-flows finds no flows: the collector ovs is not among them")

    requests = _requests(options, collectors, host)
    if not requests:
        raise UsageError(
            f"nothing to probe: the collectors {', '.join(c.name for c in collectors)}"
            " install no probes of their own; name some with --probe"
        )

    feeds = frozenset[str]().union(*(c.feeds for c in collectors))
    resolver = Resolver(host, types, feeds, tracefs)
    probes = resolver.resolve(requests)
    stack_probing = None
    if options.probe_stack:
        hidden = frozenset(probe.symbol for probe in probes if not probe.stack)
        probes = [replace(probe, stack=True) for probe in probes]
        stack_probing = StackProbing(resolver, hidden, options.stack)
    filters = _compile_filters(options, types)
    stack_context = any(probe.context for probe in probes)
    tracking = bool(filters) or stack_context or any(c.name == "skb-tracking" for c in collectors)
    followed = (
        find_followed(host, types.vmlinux, bool(filters) or "skb-tracking" in options.collectors)
        if tracking
        else ()
    )
    program = assemble(
        collectors,
        {probe.type for probe in probes} | ({ProbeType.KPROBE} if stack_probing else set()),
        types,
        ProgramOptions(
            perf_buffer=options.perf_buffer,
            rings=options.rings,
            tracking=tracking,
            follow_functions=bool(followed),
            stack_context=stack_context,
            nft_arguments=bool(stack_probing) or any(_has_nft_argument(probe) for probe in probes),
            packet_filter=filters.packet,
            meta_filter=filters.meta,
        ),
    )
    return Plan(
        collectors,
        probes,
        program,
        followed,
        options.load_each,
        types,
        options.collector_options,
        stack_probing,
    )


def _has_nft_argument(probe: Probe) -> bool:
    return any(field.startswith("nft_") for field, _ in probe.arguments)


def _requests(
    options: PlanOptions, collectors: Sequence[Collector], host: Host
) -> list[ProbeRequest]:
    """Return the probes to look for: those named, else the default ones, and the collectors'."""
    requests = list(options.probes)
    if options.probe_stack:
        _check_stack_probing(options, host)
        requests = requests or [parse_probe(text) for text in STACK_PROBES]
    elif not requests and options.defaults:
        requests = [parse_probe(text) for text in DEFAULT_PROBES]
        log.info("No probe(s) given: using %s", ", ".join(DEFAULT_PROBES))
    for collector in collectors:
        requests.extend(parse_probe(text) for text in collector.probes())
        requests.extend(
            replace(parse_probe(own.target), role=own.role, silent=own.silent, optional=True)
            for own in collector.own_probes()
        )
    if options.stack:
        requests = [replace(request, stack=True) for request in requests]
    return requests


def _check_stack_probing(options: PlanOptions, host: Host) -> None:
    if options.packet_filter is None and options.meta_filter is None:
        raise UsageError(
            "--probe-stack needs a filter (-f or -m): without one it would soon probe everything"
        )
    if host.kprobes_unavailable:
        raise MissingPrerequisite(f"cannot use --probe-stack: {host.kprobes_unavailable}")


class _Filters(NamedTuple):
    packet: "PacketFilter | None"
    meta: str | None

    def __bool__(self) -> bool:
        return self != (None, None)


def _compile_filters(options: PlanOptions, types: Types) -> _Filters:
    # Imported where they are used: most collections have none.
    packet = meta = None
    if options.packet_filter is not None:
        from retis_py.filters.packet import compile_packet_filter  # noqa: PLC0415

        packet = compile_packet_filter(options.packet_filter)
        for form, reason in packet.missing.items():
            log.debug("Skipping %s filter generation (%s)", form, reason)
        forms = [name for name, text in (("L2", packet.l2), ("L3", packet.l3)) if text is not None]
        log.info("%s packet filter(s) loaded", "+".join(forms))
    if options.meta_filter is not None:
        from retis_py.filters.meta import compile_meta_filter  # noqa: PLC0415

        meta = compile_meta_filter(options.meta_filter, [types.vmlinux, *types.conntrack])
        log.info("Metadata filter loaded")
    return _Filters(packet, meta)
