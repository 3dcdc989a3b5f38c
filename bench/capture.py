"""Capture: what draining and decoding cost, and whether anything is lost.

Synthetic: records of 240 bytes with their headers, made by a loop in the kernel (synthetic.py) and
drained by the real drainer, with the default buffer and with 64 MiB, into a real spool while
nothing decodes; then the real decoder makes an event file of a burst, alone and with two processes
that help it (no faster unless there are CPUs for them). Overdriven: as fast as the CPUs can, with
2 MiB, so that there are losses to count.

Real: a flood of datagrams to a port where nobody listens, within a namespace, each of which is
dropped and traced; the kernel counts them too (NoPorts). CPU time counts, whatever else runs; what
is lost does depend on that.

    .venv/bin/python bench/capture.py [--runs 5] [--seconds 10] [--folder DIR] [--json FILE]
"""

import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from multiprocessing import Value
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from flood import flood_namespace
from raw_records import PROBES, Traffic, all_parts
from report import Report, Row
from synthetic import Producer, compile_producer

from retis_py.cli.outputs import Outputs
from retis_py.collect.channel import Channel, Done, Go, Ready
from retis_py.collect.decoder_process import DecoderProcess
from retis_py.collect.decoding import Decoding
from retis_py.collect.drain import Drainer, lower_priority, raise_priority
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.loader import Loader
from retis_py.collect.own_symbols import OwnSymbols
from retis_py.collect.program import ring_names
from retis_py.collect.ring import RingBuffer
from retis_py.collect.rings import choose_rings
from retis_py.collect.spool import Spool, create_spool
from retis_py.collect.spool_format import Description
from retis_py.kernel.host import Host

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from retis_py.collect.compiled import Compiled

RATE = 1_500_000  # events a second
BURST = 1_000_000  # events within two seconds
HELPERS = 2  # processes that decode beside the one that reads and writes
DRAIN_LIMIT = 0.5  # us
DECODE_LIMIT = 6.0  # us
OVERDRIVEN = 2 << 20  # bytes, to have losses to count
RECORD_SIZE = 232  # and the ring's header of 8
DEFAULT_BUFFER = 16 << 20  # bytes, of --buffer-size
BUFFER = 64 << 20  # a virtual machine may not run for tens of milliseconds
SHORT_LIMIT = 0.5  # %, of the rate: the producer makes events by the hundred
ROOM = 64 << 30

_SECTIONS = ("skb_tracking", "skb_drop", "packet", "skb_meta", "dev", "netns")
_LOST = r"([\d,]+) event\(s\) lost at raw_tracepoint:"
_CAPTURED = slice(34, 36)  # packet_length in the header of a record (events/wire.py)
_STARTUP = b'{"common":{"timestamp":1},"startup":{"retis_version":"v1.7.0","cmdline":"bench"}}'


class Drained(NamedTuple):
    """What a run of the synthetic producer brought."""

    sent: int
    lost: int
    received: int
    cpu: float  # s
    seconds: float

    @property
    def unaccounted(self) -> int:
        """Neither received nor counted as lost."""
        return self.sent - self.received - self.lost


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _parse_arguments()
    if os.geteuid() != 0:
        print("capture: needs root", file=sys.stderr)
        return 2
    report = Report("capture")
    with tempfile.TemporaryDirectory(prefix="retis-bench-capture", dir=options.folder) as name:
        folder = Path(name)
        bench = Synthetic(folder)
        wanted = options.only
        if wanted in (None, "drain"):
            report.rows += _drain_rows(bench, options.runs, options.seconds)
        if wanted in (None, "burst"):
            report.rows += _burst_rows(bench, options.runs)
        if wanted in (None, "flood"):
            report.rows += _flood_rows(folder, options.runs, options.seconds)
    return report.finish(options.json)


def _drain_rows(bench: "Synthetic", runs: int, seconds: float) -> list[Row]:
    paced = [bench.drain(seconds, RATE, cpus=[1], buffer=DEFAULT_BUFFER) for _ in range(runs)]
    roomy = [bench.drain(seconds, RATE, cpus=[1]) for _ in range(runs)]
    flat_out = [bench.drain(seconds / 5, None, cpus=[0, 1], buffer=OVERDRIVEN) for _ in range(runs)]
    all_runs = paced + roomy + flat_out
    return [
        _row("synthetic, 240 bytes: sent", "M/s", [r.sent / r.seconds / 1e6 for r in paced]),
        _row(
            "synthetic, 240 bytes: less than 1.5 M/s by",
            "%",
            [max(0.0, 100 - 100 * r.sent / r.seconds / RATE) for r in paced + roomy],
            SHORT_LIMIT,
        ),
        _row("synthetic, 240 bytes: lost", "", [r.lost for r in paced], 0),
        _row("synthetic, 240 bytes: lost with 64 MiB", "", [r.lost for r in roomy], 0),
        _row(
            "synthetic: CPU to drain an event",
            "us",
            [1e6 * r.cpu / r.received for r in paced],
            DRAIN_LIMIT,
        ),
        _row("overdriven: sent", "M/s", [r.sent / r.seconds / 1e6 for r in flat_out]),
        _row("overdriven: drained", "M/s", [r.received / r.seconds / 1e6 for r in flat_out]),
        _row("overdriven: lost", "%", [100 * r.lost / r.sent for r in flat_out]),
        _row("sent - received - counted as lost", "", [abs(r.unaccounted) for r in all_runs], 0),
    ]


def _burst_rows(bench: "Synthetic", runs: int) -> list[Row]:
    alone, helped = ([bench.burst(helpers) for _ in range(runs)] for helpers in (0, HELPERS))
    bursts = alone + helped
    return [
        _row("burst of 1,000,000 in 2 s, decoder stopped: sent", "", [b.sent for b in bursts]),
        _row("burst: lost", "", [b.lost for b in bursts], 0),
        _row("burst: lines missing in the file", "", [b.missing for b in bursts], 0),
        _row("burst: lines out of order", "", [b.unordered for b in bursts], 0),
        _row(
            "burst: CPU to decode an event of 8 sections",
            "us",
            [1e6 * b.cpu / b.sent for b in alone],
            DECODE_LIMIT,
        ),
        _row("burst: the same, two helpers", "us", [1e6 * b.cpu / b.sent for b in helped]),
        _row(
            "burst: of that, the process that they help",
            "us",
            [1e6 * b.writer_cpu / b.sent for b in helped],
        ),
        _row("burst: time to decode it", "s", [b.seconds for b in alone]),
        _row("burst: the same, two helpers", "s", [b.seconds for b in helped]),
    ]


def _row(name: str, unit: str, values: list[float], limit: float | None = None) -> Row:
    return Row(name, unit, values, limit)


class Burst(NamedTuple):
    """A burst, and the event file made of it."""

    sent: int
    lost: int
    missing: int
    unordered: int
    cpu: float  # s, of all processes that decode
    writer_cpu: float  # s, of the one among them that writes
    seconds: float  # until it was decoded


class Synthetic:
    """The producer, the drainer and the decoder, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._host = Host()
        self._rings = choose_rings(BUFFER, len(self._host.online_cpu_numbers))
        self._parts = all_parts()
        traffic = Traffic(self._parts, [_SECTIONS])
        self._record = _cut(min(traffic.records(100), key=len))
        self._writer_cpu: Synchronized[float] = Value("d", 0)
        self._compiled: Compiled = compile_producer(RECORD_SIZE, self._rings.number)

    def drain(
        self, seconds: float, rate: float | None, cpus: list[int], buffer: int = BUFFER
    ) -> Drained:
        """Drain what is made for so many seconds into ``buffer`` bytes; nothing decodes."""
        size = buffer // self._rings.number
        with create_spool(self._folder / "events", ROOM) as spool:
            return self._drain(spool, seconds, rate, cpus, size)

    def burst(self, helpers: int) -> Burst:
        """Drain a burst while the decoder does not run, then let it."""
        path = self._folder / "events"
        with create_spool(path, ROOM) as spool:
            outputs = Outputs(path, None, None)
            decoder = DecoderProcess(
                lambda channel: self._decode(spool, channel, outputs, helpers), [spool.descriptor]
            )
            spool.describe(Description(startup=msgspec.Raw(_STARTUP), rings=self._rings.number))
            decoder.channel.send(Go())
            assert isinstance(decoder.receive(10), Ready)
            decoder.signal(signal.SIGSTOP)
            cpus = self._host.online_cpu_numbers[:2]
            drained = self._drain(spool, 2.0, BURST / 2, cpus, self._rings.size)
            spool.control.finished = True
            before, start = _children_cpu(), time.monotonic()
            decoder.signal(signal.SIGCONT)
            while not isinstance(decoder.receive(60), Done):
                pass
            seconds = time.monotonic() - start
            decoder.close()
            cpu = _children_cpu() - before
        times = [int(time) for time in _TIMESTAMPS.findall(path.read_bytes())][1:]
        unordered = sum(a > b for a, b in pairwise(times))
        path.unlink()
        missing = drained.received - len(times)
        return Burst(
            drained.sent, drained.lost, missing, unordered, cpu, self._writer_cpu.value, seconds
        )

    def _drain(
        self, spool: Spool, seconds: float, rate: float | None, cpus: list[int], size: int
    ) -> Drained:
        names = ring_names(self._rings.number)
        begin: Synchronized[int] = Value("i", 0)
        with Loader(self._compiled, dict.fromkeys(names, size)) as loader:
            producer = Producer(loader, self._record, self._host.possible_cpus)
            running = producer.start(cpus, seconds, rate, begin)
            sources = [RingBuffer(loader.maps[name], size) for name in names]
            drainer = Drainer(spool, sources, size, KnownProbes(()))
            raise_priority()
            start = time.process_time()
            begin.value = 1
            while any(process.is_alive() for process in running):
                drainer.round()
                time.sleep(drainer.wait)
            while drainer.round():
                pass
            cpu = time.process_time() - start
            lower_priority()
            drainer.close()
            sent, lost = producer.counts
        return Drained(sent, lost, spool.control.received, cpu, seconds)

    def _decode(self, spool: Spool, channel: Channel, outputs: Outputs, helpers: int) -> int:
        symbols = OwnSymbols(hex)
        decoder = JsonDecoder(self._parts, PROBES, symbols.resolve)
        Decoding(
            spool,
            channel,
            decoder,
            outputs,
            symbols=symbols,
            give_up_privileges=lambda: None,
            helpers=helpers,
        ).run()
        outputs.close()
        self._writer_cpu.value = time.process_time()
        return 0


def _cut(record: bytes) -> bytes:
    """Leave out so much of a record's packet that it has RECORD_SIZE."""
    captured = int.from_bytes(record[_CAPTURED], sys.byteorder) - len(record) + RECORD_SIZE
    return (
        record[: _CAPTURED.start]
        + captured.to_bytes(2, sys.byteorder)
        + record[_CAPTURED.stop : RECORD_SIZE]
    )


_TIMESTAMPS = re.compile(rb'^\{"common":\{"timestamp":(\d+)', re.MULTILINE)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Flooded(NamedTuple):
    """A flood, and what was traced of it."""

    sent: int
    dropped: int  # as the kernel counts
    seen: int  # events of those
    lost: int
    drain_cpu: float  # s
    decode_cpu: float


def _flood_rows(folder: Path, runs: int, seconds: float) -> list[Row]:
    alone, traced = [], []
    for _ in range(runs):
        alone.append(flood_namespace(seconds))
        traced.append(_trace_flood(folder, seconds))
    return [
        _row("UDP flood alone", "k/s", [f.sent / seconds / 1e3 for f in alone]),
        _row("UDP flood, its drops traced", "k/s", [f.sent / seconds / 1e3 for f in traced]),
        _row("flood: events lost", "", [f.lost for f in traced], 0),
        _row(
            "flood: dropped - events - counted as lost",
            "",
            [abs(f.dropped - f.seen - f.lost) for f in traced],
            0,
        ),
        _row("flood: CPU to drain an event", "us", [1e6 * f.drain_cpu / f.seen for f in traced]),
        _row("flood: CPU to decode an event", "us", [1e6 * f.decode_cpu / f.seen for f in traced]),
    ]


def _trace_flood(folder: Path, seconds: float) -> Flooded:
    path, ready = folder / "flood", folder / "ready"
    command = [
        *(sys.executable, "-m", "retis_py", "collect", "-c", "skb,skb-drop,skb-tracking,dev,ns"),
        *("-o", str(path), "--ready-file", str(ready), "--spool-limit", "64GB"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as retis:
        while not ready.exists():
            time.sleep(0.05)
        children = Path(f"/proc/{retis.pid}/task/{retis.pid}/children").read_text().split()
        before = _cpu(retis.pid)
        flood = flood_namespace(seconds)
        drain_cpu = _cpu(retis.pid) - before
        retis.send_signal(signal.SIGINT)
        decode_cpu = 0.0
        while retis.poll() is None:
            decode_cpu = max(decode_cpu, _cpu(int(children[0])))
            time.sleep(0.02)
        assert retis.stderr is not None
        said = retis.stderr.read()
    ready.unlink()
    # Others may drop packets on this machine too.
    here = b'"netns":{"inum":%d,' % flood.namespace
    with path.open("rb") as file:
        seen = sum(here in line and b'"drop_reason":"NO_SOCKET"' in line for line in file)
    path.unlink()
    lost = [int(n.replace(",", "")) for n in re.findall(_LOST, said)]
    return Flooded(flood.sent, flood.dropped, seen, sum(lost), drain_cpu, decode_cpu)


def _cpu(pid: int) -> float:
    """CPU time (s) of a process so far, 0 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, help="where spools and event files go")
    parser.add_argument("--only", choices=("drain", "burst", "flood"))
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
