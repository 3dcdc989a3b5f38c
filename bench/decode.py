"""What it costs to make lines of an event file of raw records: CPU time for each event.

Once with an Event in between, as for text, once without (retis_py/collect/json_decode.py). Each run
begins with a decoder that remembers nothing. bench/raw_records.py says what the records are.

    .venv/bin/python bench/decode.py [--runs 5] [--events 50000] [--json FILE]
"""

import argparse
import gc
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raw_records import PROBES, Traffic, all_parts
from report import Report, Row

from retis_py.collect.decode import Decoder
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collectors.collector import Part
from retis_py.events.event import encode
from retis_py.kernel.symbols import SymbolTable

_LIMIT = 6.0  # us
_EIGHT = ("skb_tracking", "skb_drop", "packet", "skb_meta", "dev", "netns")
_OVS = ("skb_tracking", "packet", "dev", "netns")


@dataclass(frozen=True, slots=True)
class Case:
    """What records have, beside common and kernel: names of parts, each record's in turn."""

    name: str
    variants: Sequence[Collection[str]]
    stack: bool = False
    limit: float | None = None


CASES = (
    Case("8 sections", [_EIGHT], limit=_LIMIT),
    Case("8 sections, all of skb", [(*_EIGHT, "skb_dataref", "skb_gso")], limit=_LIMIT),
    Case("8 sections, a stack of 10", [_EIGHT], stack=True, limit=_LIMIT),
    Case("9 sections, ct among them", [(*_EIGHT, "ct_ipv4")]),
    Case("Open vSwitch, flow hit", [(*_OVS, "ovs_flow_lookup"), (*_OVS, "ovs_action")]),
    Case(
        "Open vSwitch, upcall",
        [(*_OVS, f"ovs_{step}") for step in ("upcall", "upcall_enqueue", "upcall_return")],
    ),
)


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _parse_arguments()
    parts = all_parts()
    resolve = SymbolTable().resolve
    report = Report("decode")
    for case in CASES:
        records = Traffic(parts, case.variants, stack=case.stack).records(options.events)
        for name, lines, limit in (
            ("with an Event", _by_events, None),
            ("lines", _by_lines, case.limit),
        ):
            values = [_measure(lines, parts, resolve, records) for _ in range(options.runs)]
            report.rows.append(Row(f"{case.name}: {name}", "us", values, limit))
    return report.finish(options.json)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the decoding of records into lines.")
    parser.add_argument("--events", type=int, default=50_000, help="in each run")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    return parser.parse_args()


Resolve = Callable[[int], str]


def _measure(
    lines: Callable[[Sequence[Part], Resolve, Iterable[bytes]], Iterable[bytes]],
    parts: Sequence[Part],
    resolve: Resolve,
    records: Sequence[bytes],
) -> float:
    """Return the CPU time of a record in us; what the lines take is given back as one goes."""
    gc.collect()
    began = time.process_time_ns()
    deque(lines(parts, resolve, records), maxlen=0)
    return (time.process_time_ns() - began) / 1000 / len(records)


def _by_events(
    parts: Sequence[Part], resolve: Resolve, records: Iterable[bytes]
) -> Iterable[bytes]:
    decode = Decoder(parts, PROBES, resolve).decode
    return (encode(decode(record)) + b"\n" for record in records)


def _by_lines(parts: Sequence[Part], resolve: Resolve, records: Iterable[bytes]) -> Iterable[bytes]:
    return JsonDecoder(parts, PROBES, resolve).lines(records)


if __name__ == "__main__":
    sys.exit(main())
