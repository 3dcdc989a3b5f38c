"""Programs to their probes: tracepoints and functions one by one, many functions at once."""

import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from retis_py.collect.loader import AttachType, Loader, ProgramType
from retis_py.collect.program import FORGET, PROBE_NUMBER, PROBE_SHAPE, Program
from retis_py.errors import RetisError
from retis_py.kernel import perf_event
from retis_py.probes.probe import Probe, ProbeType, Shape

log = logging.getLogger(__name__)

# From this many functions on, kprobe.multi pays: it attaches hundreds in the time of a few, but
# reaches only functions that ftrace can hook.
_MANY = 16

# The tracepoints that see packets freed; skb:consume_skb since Linux 2.6.35.
_FREEING_TRACEPOINTS = ("kfree_skb", "consume_skb")


@dataclass(frozen=True, slots=True)
class Attached:
    """A loaded program and the probes that run it."""

    program: int
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """A function of the program to load for a shape and to attach at functions."""

    function: str
    shape: Shape
    at_return: bool

    def load(self, loader: Loader, attach: AttachType) -> int:
        constants = {PROBE_SHAPE: self.shape.number}
        return loader.load(self.function, ProgramType.KPROBE, attach, constants)


def attach_all(loader: Loader, program: Program, probes: Sequence[Probe]) -> list[Attached]:
    """Attach all probes; those from a wildcard that the kernel refuses are warned about.

    Raises:
        RetisError: the kernel refuses a probe that was named, or the program.
    """
    attached = []
    functions: dict[Shape, list[Probe]] = {}
    for index, probe in enumerate(probes):
        if probe.type is ProbeType.RAW_TRACEPOINT:
            attached.append(_attach_tracepoint(loader, probe, index))
        else:
            functions.setdefault(probe.shape, []).append(probe)
    for shape, group in functions.items():
        attached.extend(_attach_functions(loader, shape, group))
    if FORGET in program.functions:
        # Last, so that at a tracepoint that is probed too the event still has its packet's id.
        forget = loader.load(FORGET, ProgramType.RAW_TRACEPOINT)
        for name in _FREEING_TRACEPOINTS:
            loader.attach_raw_tracepoint(name, forget)
    if not any(a.probes for a in attached):
        raise RetisError("the kernel refuses every probe: see why with --log-level debug")
    return attached


def _attach_tracepoint(loader: Loader, probe: Probe, index: int) -> Attached:
    constants = {PROBE_NUMBER: index, PROBE_SHAPE: probe.shape.number}
    fd = loader.load("raw_tracepoint", ProgramType.RAW_TRACEPOINT, constants=constants)
    try:
        loader.attach_raw_tracepoint(probe.tracepoint, fd)
    except OSError as error:
        _refused(probe, error)
        return Attached(fd, ())
    return Attached(fd, (probe,))


def _attach_functions(loader: Loader, shape: Shape, probes: list[Probe]) -> list[Attached]:
    steps = [_Step("kprobe", shape, at_return=False)]
    if shape.type is ProbeType.KRETPROBE:
        # The return first: an entry without its return would be kept for nothing.
        steps = [
            _Step("kretprobe", shape, at_return=True),
            _Step("kretprobe_entry", shape, at_return=False),
        ]
    if len(probes) >= _MANY:
        try:
            return [_attach_at_once(loader, step, probes) for step in steps]
        except OSError as error:
            log.debug(
                "kprobe.multi for %d functions: %s; attaching them one by one", len(probes), error
            )
    return [_attach_one_by_one(loader, step, probes) for step in steps]


def _attach_at_once(loader: Loader, step: _Step, probes: list[Probe]) -> Attached:
    fd = step.load(loader, AttachType.TRACE_KPROBE_MULTI)
    loader.attach_kprobes(fd, [probe.address for probe in probes], step.at_return)
    return Attached(fd, tuple(probes))


def _attach_one_by_one(loader: Loader, step: _Step, probes: list[Probe]) -> Attached:
    fd = step.load(loader, AttachType.NONE)
    attached = []
    for probe in probes:
        try:
            loader.keep(perf_event.attach_kprobe(fd, probe.address, step.at_return))
        except OSError as error:
            _refused(probe, error)
        else:
            attached.append(probe)
    return Attached(fd, tuple(attached))


def _refused(probe: Probe, error: OSError) -> None:
    number = error.errno or 0
    reason = os.strerror(number)
    if number in (errno.EINVAL, errno.EOPNOTSUPP) and probe.type is not ProbeType.RAW_TRACEPOINT:
        reason = "the kernel does not let this function be probed"
    elif number in (errno.EPERM, errno.EACCES):
        reason = "not permitted: run as root (or with CAP_BPF and CAP_PERFMON)"
    if not probe.optional:
        raise RetisError(f"cannot attach {probe}: {reason}") from error
    log.warning("cannot attach %s: %s; going on without it", probe, reason)
