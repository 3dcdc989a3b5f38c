"""Spools left behind, damaged: printed as far as they can be, or refused with one line."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from fuzz.retis_command import run
from fuzz.target import Target
from retis_py.cli import print, spool_input  # noqa: A004, F401 (to be instrumented)
from retis_py.collect import left_spool
from retis_py.collect.drain import Drainer
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.plan import Plan, PlanOptions, make_plan
from retis_py.collect.spool_format import Decoded
from retis_py.collectors.registry import CollectorOptions
from retis_py.collectors.skb import SkbPart
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from unit.collect.spools import Ring, new_spool, record

_WORDS = (b"CHNK", b"RETSPOOL", b'"rings":', b'"key":', b'"hidden":[', b'"collectors":{',
          b'"symbols":[[1,2,"a"]]', b'"programs":{"7":"a"}', b'"boot_id":"', b'"type":"usdt"',
          b'"kprobe"', b'"kretprobe"', b'"path":"a"', b"null", b"-1", b"\\u001b")  # fmt: skip


def target() -> Target:
    """See the module."""
    folder = Path(tempfile.mkdtemp(prefix="retis-fuzz-"))
    path = folder / "left.spool"
    vmlinux = Btf.vmlinux()
    left_spool.Btf = SimpleNamespace(vmlinux=lambda: vmlinux)  # reading them takes long
    left_spool.Host = cache(Host)

    def check(data: bytes) -> None:
        path.write_bytes(data)
        run("print", "-j1", path)

    return Target(check, [*_seeds(folder)], _WORDS, max_length=32_000)


def _seeds(folder: Path) -> Iterator[bytes]:
    options = CollectorOptions(frozenset(SkbPart), 255)
    plan = make_plan(PlanOptions(collector_options=options, stack=True), Host(), None)
    records = [record(time, time) for time in range(40)]
    for decoded in (None, Decoded(4096, 1 << 40, 10)):
        yield _left(folder, plan, records, decoded)
    odd = [record(1, 1, b"more"), b"\xff" * 60, record(3, 3)]
    yield _left(folder, plan, odd, None)


def _left(folder: Path, plan: Plan, records: list[bytes], decoded: Decoded | None) -> bytes:
    rings = Ring(records[::2]), Ring(records[1::2])
    with new_spool(folder / "out", plan, len(rings), 1 << 20) as spool:
        Drainer(spool, rings, 1 << 20, KnownProbes(())).round()
        if decoded is not None:
            spool.control.set_decoded(decoded)
        spool.keep()
        assert spool.path is not None
        content = spool.path.read_bytes()
        spool.path.unlink()
    return content
