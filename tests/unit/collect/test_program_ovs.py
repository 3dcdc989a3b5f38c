"""The program with Open vSwitch's hooks: this kernel takes it, with a made-up module's types."""

from collections.abc import Iterator

import pytest

from lab.capabilities import require
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.program import (
    PROBE_NUMBER,
    PROBE_SHAPE,
    Program,
    ProgramOptions,
    assemble,
)
from retis_py.collectors.collector import Collector
from retis_py.collectors.ovs import OvsCollector, OvsRole
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.collectors.skb import SkbPart
from retis_py.filters.packet import compile_packet_filter
from retis_py.probes.available import Types
from retis_py.probes.probe import ProbeType, Shape
from unit.collect.running import compile_text
from unit.collectors.openvswitch import OvsTypes, openvswitch

K, KR, TP = ProbeType.KPROBE, ProbeType.KRETPROBE, ProbeType.RAW_TRACEPOINT
PROBES = [
    (TP, OvsRole.UPCALL),
    (KR, OvsRole.ENQUEUE),
    (KR, OvsRole.UPCALL_RETURN),
    (K, OvsRole.PROCESS),
    (KR, OvsRole.LOOKUP),
    (TP, OvsRole.ACTION),
    (KR, OvsRole.EXECUTE),
]
FUNCTIONS = {K: ["kprobe"], KR: ["kretprobe_entry", "kretprobe"], TP: ["raw_tracepoint"]}


@pytest.fixture(autouse=True)
def root() -> None:
    require("root")


def everything(track: bool) -> tuple[tuple[Collector, ...], ProgramOptions]:
    """As large as it gets."""
    options = CollectorOptions(frozenset(SkbPart), 255, ovs_track=track)
    packet_filter = compile_packet_filter("icmp or udp port 53")
    return all_collectors(options), ProgramOptions(
        tracking=True, follow_functions=True, stack_context=True, packet_filter=packet_filter
    )


def alone(track: bool) -> tuple[tuple[Collector, ...], ProgramOptions]:
    return (OvsCollector(track),), ProgramOptions()


def accepted(made: Program) -> None:
    """Compile it and have the kernel's verifier look at what each probe runs."""
    compiled = compile_text(made.text, made.functions)
    sizes = {"events": 1 << 16, "losses": 64}
    with Loader(compiled, sizes) as loader:
        for probe_type, role in PROBES:
            skb = () if role is OvsRole.LOOKUP else (("skb", 1),)
            shape = Shape(probe_type, skb, stack=False, role=role).number
            kind = ProgramType.RAW_TRACEPOINT if probe_type is TP else ProgramType.KPROBE
            for function in FUNCTIONS[probe_type]:
                loader.load(function, kind, constants={PROBE_NUMBER: 3, PROBE_SHAPE: shape})


@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("chosen", [alone, everything])
def test_accepted(types: Types, chosen: type, track: bool) -> None:
    ovs = OvsTypes(types.vmlinux, openvswitch(types.vmlinux))
    collectors, options = chosen(track)  # type: ignore[misc]
    accepted(assemble(collectors, {K, KR, TP}, ovs, options))


def test_older_module(types: Types) -> None:
    """Without the action drop, and with a function that the compiler has put into others."""
    module = openvswitch(types.vmlinux, drop_action=False, queue_function=False)
    made = assemble(
        [OvsCollector()], {K, KR, TP}, OvsTypes(types.vmlinux, module), ProgramOptions()
    )
    assert "#define OVS_ACTION_ATTR_DROP" not in made.text
    accepted(made)


@pytest.fixture
def maps_of_the_way(types: Types) -> Iterator[set[str]]:
    """Those that packets on their way through user space need."""
    ovs = OvsTypes(types.vmlinux, openvswitch(types.vmlinux))
    names = []
    for track in (False, True):
        made = assemble([OvsCollector(track)], {K, KR, TP}, ovs, ProgramOptions())
        names.append({m.name for m in compile_text(made.text, made.functions).maps})
    yield names[1] - names[0]


def test_maps(maps_of_the_way: set[str]) -> None:
    assert maps_of_the_way == {
        "ovs_queued",
        "ovs_executions",
        "ovs_execution_ids",
        "ovs_executing_threads",
        "ovs_executing",
        "ovs_batches",
        "ovs_no_batch",
    }
