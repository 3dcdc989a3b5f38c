"""What an event costs in the kernel, hook by hook: time, instructions, calls of helpers.

Times are the kernel's own statistics (bench/programs.py says how), of ``retis collect`` with the
hook and without; the difference is the hook. All are measured once in each round, so that what
happens meanwhile on the machine is in both. Instructions are counted by a copy of the same program
(bench/instructions.py), loaded and attached here, with the same packets. They are a mean over all
packets, datagrams and the errors (ICMP) that answer them.

    .venv/bin/python bench/kernel.py [--runs 5] [--packets 50000] [--json FILE]
"""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ct import RULES, set_rules
from instructions import Executed, count_blocks, make_counting
from programs import (
    PROBE,
    collecting,
    measure,
    namespace,
    parse_arguments,
    send,
    statistics,
)
from report import Report, Row

from retis_py.collect.attach import attach_all
from retis_py.collect.compile_cache import CompileCache
from retis_py.collect.compiled import Compiled, MapDefinition
from retis_py.collect.compiler import Compiler
from retis_py.collect.loader import Loader
from retis_py.collect.plan import Plan, PlanOptions, make_plan
from retis_py.collect.program import ring_names
from retis_py.collect.ring import RingBuffer
from retis_py.collectors.registry import CollectorOptions
from retis_py.collectors.skb import SkbPart
from retis_py.kernel.host import Host
from retis_py.probes.probe import parse_probe

_DROPS = "tp:skb:kfree_skb"
_PROGRAM = "raw_tracepoint"
_COUNTED_PACKETS = 2_000  # what they make fits in the ring, which nobody empties
_TRIES = 5
_RING = 16 << 20  # bytes
_ARRAY = 2  # BPF_MAP_TYPE_ARRAY
_ONLY_KEY = bytes(4)


@dataclass(frozen=True, slots=True)
class Case:
    """A collection to measure, and the one to compare it with."""

    name: str
    collectors: tuple[str, ...]
    base: str | None = None
    probe: str = PROBE
    skb_sections: frozenset[SkbPart] = frozenset()
    snaplen: int = 255
    stack: bool = False
    packet_filter: str | None = None
    rules: str | None = field(default=None, repr=False)  # of nftables, as in bench/ct.py

    @property
    def runs(self) -> int:
        """How often the program runs for what is counted, without other traffic."""
        return _COUNTED_PACKETS * (1 if self.probe == _DROPS else 2)  # errors are not dropped

    @property
    def arguments(self) -> list[str]:
        """What ``retis collect`` is told, beside collectors and probe."""
        found = ["--snaplen", str(self.snaplen)]
        if self.skb_sections:
            found += ["--skb-sections", ",".join(sorted(self.skb_sections))]
        if self.stack:
            found.append("--stack")
        if self.packet_filter is not None:
            found += ["-f", self.packet_filter]
        return found

    def plan(self, host: Host) -> Plan:
        """Return the same as a plan."""
        options = PlanOptions(
            collectors=self.collectors,
            probes=(parse_probe(self.probe),),
            stack=self.stack,
            packet_filter=self.packet_filter,
            collector_options=CollectorOptions(self.skb_sections, self.snaplen),
        )
        return make_plan(options, host, None)


_ALL = ("skb-drop", "skb", "skb-tracking", "dev", "ns")
CASES: tuple[Case, ...] = (
    Case("dev", ("dev",)),
    Case("ns", ("dev", "ns"), "dev"),
    Case("skb-tracking", ("dev", "skb-tracking"), "dev"),
    Case("skb, 14 bytes of each packet", ("dev", "skb"), "dev", snaplen=14),
    Case("skb, all of 106 or 134 bytes", ("dev", "skb"), "skb, 14 bytes of each packet"),
    Case(
        "skb, all --skb-sections",
        ("dev", "skb"),
        "skb, all of 106 or 134 bytes",
        skb_sections=frozenset(SkbPart),
    ),
    Case("a stack trace", ("dev",), "dev", stack=True),
    Case("ct, a connection", ("dev", "ct"), "dev", rules=RULES["a connection"]),
    Case("-f 'tcp port 80', no match", ("dev",), packet_filter="tcp port 80"),
    Case("drops, dev", ("dev",), probe=_DROPS),
    Case("drops, skb-drop", ("dev", "skb-drop"), "drops, dev", probe=_DROPS),
    Case("drops, all of dropmon's", _ALL, "drops, dev", probe=_DROPS),
    Case("drops, these and a stack trace", _ALL, "drops, all of dropmon's", _DROPS, stack=True),
)


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse_arguments("Measure what an event costs in the kernel.")
    logging.disable(logging.WARNING)  # this kernel's limits, once for each case
    host = Host()
    report = Report("kernel")
    cases = CASES
    if not shutil.which("nft"):
        cases = tuple(case for case in CASES if not case.rules)
        report.notes.append("ct: not measured, nft is not installed")
    if host.kprobes_unavailable:
        report.notes.append(f"nft: not measured, it needs kprobes: {host.kprobes_unavailable}")
    measured = {case.name: Measured() for case in cases}
    once = argparse.Namespace(runs=1, packets=options.packets)
    with namespace(), statistics():
        for case in cases * options.runs:
            with _rules(case):
                measured[case.name].add(case, host, once)
    report.notes += [
        f"{name}: instructions not counted, other traffic passes the probe"
        for name, found in measured.items()
        if not found.instructions
    ]
    for case in cases:
        report.rows += _rows(case, measured)
    return report.finish(options.json)


@dataclass(slots=True)
class Measured:
    """What a case took in each round, times in ns."""

    times: list[float] = field(default_factory=list)
    all_times: list[float] = field(default_factory=list)
    instructions: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)  # bytes; none where there are no events

    def add(self, case: Case, host: Host, options: argparse.Namespace) -> None:
        """Measure it once more."""
        with collecting(case.arguments, ",".join(case.collectors), case.probe) as process:
            times, all_times = measure(process.pid, options)
        self.times += times
        self.all_times += all_times
        plan = case.plan(host)
        for _ in range(_TRIES):
            executed, sizes = _count(plan)
            if executed.runs <= case.runs:
                self.instructions.append(executed.instructions / executed.runs)
                self.calls.append(sum(executed.calls.values()) / executed.runs)
                self.sizes += sizes
                return
            time.sleep(1)


@contextmanager
def _rules(case: Case) -> Iterator[None]:
    if case.rules is None:
        yield
        return
    set_rules(case.rules)
    yield
    set_rules(None)


def _rows(case: Case, measured: dict[str, Measured]) -> Iterator[Row]:
    found = measured[case.name]
    yield Row(case.name, "ns", found.times)
    if case.base is not None:
        rounds = zip(found.times, measured[case.base].times, strict=True)
        yield Row(f"  more than '{case.base}'", "ns", [mine - other for mine, other in rounds])
    if found.all_times != found.times:
        yield Row("  with the core's own programs", "ns", found.all_times)
    if found.instructions:
        yield Row("  instructions", "", found.instructions)
        yield Row("  calls of helpers", "", found.calls)
    if found.sizes:
        yield Row("  in the buffer", "bytes", found.sizes)


def _count(plan: Plan) -> tuple[Executed, list[float]]:
    """Return what is executed, and the mean size of a record with the ring's header, if any."""
    with Compiler(CompileCache.of_user()) as compiler:
        compiled = compiler.compile(plan.program.text, plan.program.functions)
    code = compiled.functions[_PROGRAM]
    counters = MapDefinition("bench_counters", _ARRAY, len(_ONLY_KEY), 8 * count_blocks(code), 1, 0)
    [ring] = ring_names(1)
    with Loader(Compiled({}, [counters]), {}) as own:
        map_ = own.maps[counters.name]
        counting = make_counting(code, map_.fd)
        functions = compiled.functions | {_PROGRAM: counting.code}
        with Loader(Compiled(functions, compiled.maps), {ring: _RING}) as loader:
            attach_all(loader, plan)
            send(_COUNTED_PACKETS)
            loader.detach()
            sizes = _sizes(RingBuffer(loader.maps[ring], _RING))
        return counting.executed(dict(map_.items())[_ONLY_KEY]), sizes


def _sizes(ring: RingBuffer) -> list[float]:
    batch = ring.peek(_RING)
    with memoryview(batch.data) as data:
        sizes = [len(data) / batch.records] if batch.records else []
    del batch
    ring.close()
    return sizes


if __name__ == "__main__":
    sys.exit(main())
