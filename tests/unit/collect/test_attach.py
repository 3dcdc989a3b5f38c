"""Programs at probes that this kernel has, and at some that it has not."""

import struct
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from lab.capabilities import CAPABILITIES
from retis_py.collect.attach import attach_all
from retis_py.collect.compiled import Compiled
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.loader import Loader
from retis_py.collect.losses import LossCause, read_losses
from retis_py.collect.plan import Plan
from retis_py.errors import RetisError
from retis_py.probes.probe import Probe, ProbeType

TP = ProbeType.RAW_TRACEPOINT
MADE_UP = Probe(TP, "skb:no_such_tracepoint", (("skb", 0),))


@pytest.fixture
def loader(full_program: Compiled, open_descriptors: None) -> Iterator[Loader]:
    with Loader(full_program, {"events": 1 << 16}) as loader:
        yield loader


def test_all(loader: Loader, full_plan: Plan) -> None:
    attached = attach_all(loader, full_plan)
    assert [a.probes for a in attached if a.probes] == [(p,) for p in full_plan.probes]
    # The core's own, which track packets.
    assert any(not a.probes for a in attached)
    assert len({a.program for a in attached}) == len(attached)


def test_a_named_probe_that_is_refused(loader: Loader, full_plan: Plan) -> None:
    with pytest.raises(RetisError, match="skb:no_such_tracepoint: No such file"):
        attach_all(loader, replace(full_plan, probes=[*full_plan.probes, MADE_UP]))


def test_a_wildcards_probe_that_is_refused(
    loader: Loader, full_plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    probes = [replace(MADE_UP, optional=True), full_plan.probes[0]]
    attached = attach_all(loader, replace(full_plan, probes=probes))
    assert [p for a in attached for p in a.probes] == [full_plan.probes[0]]
    assert "cannot attach raw_tracepoint:skb:no_such_tracepoint" in caplog.text
    assert "going on without it" in caplog.text


def test_nothing_is_left(loader: Loader, full_plan: Plan) -> None:
    with pytest.raises(RetisError, match="the kernel refuses every probe"):
        attach_all(loader, replace(full_plan, probes=[replace(MADE_UP, optional=True)]))


@pytest.mark.skipif(CAPABILITIES["kprobes"]() is None, reason="this kernel has kprobes")
def test_functions_without_kprobes(full_plan: Plan, loader: Loader) -> None:
    """Whoever gets this far without kprobes is told, and nothing is left behind."""
    loader._functions["kprobe"] = loader._functions["raw_tracepoint"]
    function = Probe(ProbeType.KPROBE, "ip_rcv", (("skb", 0),), address=0xFFFFFFFF81000000)
    with pytest.raises(RetisError, match="cannot attach kprobe:ip_rcv: "):
        attach_all(loader, replace(full_plan, probes=[function]))


def test_losses_by_probe_and_cause(loader: Loader, full_plan: Plan) -> None:
    known = KnownProbes(full_plan.probes)
    counts = loader.maps["losses"]
    for number, cause, count in ((0, 0, 5), (0, 2, 1), (1, 1, 2**40), (77, 0, 3)):
        counts.update(struct.pack("=QII", number, TP.number, cause), struct.pack("=Q", count))
    first, second = map(str, full_plan.probes[:2])
    assert read_losses(loader, (), known) == {
        (first, LossCause.RING_FULL): 5,
        (first, LossCause.MAP_FULL): 1,
        (second, LossCause.BUFFER_BUSY): 2**40,
        ("the core's own probes, which track packets", LossCause.RING_FULL): 3,
    }
