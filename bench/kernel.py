"""What an event costs in the kernel, hook by hook: time, instructions, calls of helpers.

Times are the kernel's own statistics (bench/programs.py says how), of ``retis collect`` with the
hook and without; the difference is the hook. Instructions are counted by a copy of the same program
(bench/instructions.py), loaded and attached here, with the same packets. They are a mean over all
packets, datagrams and the errors (ICMP) that answer them.

    .venv/bin/python bench/kernel.py [--runs 5] [--packets 50000] [--json FILE]
"""

import logging
import shutil
import statistics as averages
import sys
from collections.abc import Iterator
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
from retis_py.collectors.registry import CollectorOptions
from retis_py.collectors.skb import SkbPart
from retis_py.kernel.host import Host
from retis_py.probes.probe import parse_probe

_DROPS = "tp:skb:kfree_skb"
_PROGRAM = "raw_tracepoint"
_COUNTED_PACKETS = 2_000  # what they make fits in the ring, which nobody empties
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
CASES = (
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
    medians: dict[str, float] = {}
    with namespace(), statistics():
        for case in CASES:
            if case.rules and not shutil.which("nft"):
                report.notes.append(f"{case.name}: not measured, nft is not installed")
                continue
            if case.rules:
                set_rules(case.rules)
            with collecting(case.arguments, ",".join(case.collectors), case.probe) as process:
                times, all_times = measure(process.pid, options)
            medians[case.name] = averages.median(times)
            report.rows += _time_rows(case, times, all_times, medians)
            report.rows += _instruction_rows(_count(case.plan(host)))
            if case.rules:
                set_rules(None)
    if host.kprobes_unavailable:
        report.notes.append(f"nft: not measured, it needs kprobes: {host.kprobes_unavailable}")
    return report.finish(options.json)


def _time_rows(
    case: Case, times: list[float], all_times: list[float], medians: dict[str, float]
) -> Iterator[Row]:
    yield Row(case.name, "ns", times)
    if case.base is not None:
        base = medians[case.base]
        yield Row(f"  more than '{case.base}'", "ns", [time - base for time in times])
    if all_times != times:
        yield Row("  with the core's own programs", "ns", all_times)


def _instruction_rows(executed: Executed) -> Iterator[Row]:
    yield Row("  instructions", "", [executed.instructions / executed.runs])
    yield Row("  calls of helpers", "", [sum(executed.calls.values()) / executed.runs])


def _count(plan: Plan) -> Executed:
    with Compiler(CompileCache.of_user()) as compiler:
        compiled = compiler.compile(plan.program.text, plan.program.functions)
    code = compiled.functions[_PROGRAM]
    counters = MapDefinition("bench_counters", _ARRAY, len(_ONLY_KEY), 8 * count_blocks(code), 1, 0)
    with Loader(Compiled({}, [counters]), {}) as own:
        map_ = own.maps[counters.name]
        counting = make_counting(code, map_.fd)
        functions = compiled.functions | {_PROGRAM: counting.code}
        with Loader(Compiled(functions, compiled.maps), {"events": _RING}) as loader:
            attach_all(loader, plan)
            send(_COUNTED_PACKETS)
            loader.detach()
            return counting.executed(dict(map_.items())[_ONLY_KEY])


if __name__ == "__main__":
    sys.exit(main())
