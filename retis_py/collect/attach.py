"""Programs to their probes: tracepoints and functions one by one, many functions at once."""

import logging
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from retis_py.collect.followed import FREEING_TRACEPOINTS, FollowedProbe
from retis_py.collect.loader import AttachType, Loader, ProgramType
from retis_py.collect.plan import Plan
from retis_py.collect.program import HANDLING_ENDS, PROBE_NUMBER, PROBE_SHAPE
from retis_py.errors import RetisError
from retis_py.probes.probe import Probe, ProbeType, Shape, UserProbe
from retis_py.probes.refusal import refusal

log = logging.getLogger(__name__)

# From this many functions on, kprobe.multi pays: it attaches hundreds in the time of a few, but
# reaches only functions that ftrace can hook.
_MANY = 16


class Attached(Struct, frozen=True):
    """A loaded program, the probes that run it, and the links between them.

    The core's own programs have no probes; ``spares`` are copies that do the same at the same
    places.
    """

    program: int
    probes: tuple[Probe | UserProbe, ...]
    links: tuple[int, ...] = ()
    spares: tuple[int, ...] = ()


def attach_all(loader: Loader, plan: Plan) -> list[Attached]:
    """Attach all probes; those from a wildcard that the kernel refuses are warned about.

    Raises:
        RetisError: the kernel refuses a probe that was named, or the program.
    """
    attached = []
    if plan.followed:
        # First: of several kprobes at one function the newest runs first, and an event still
        # wants the id of the packet that is forgotten here.
        attached.extend(_attach_followed(loader, plan.followed))
    functions: dict[Shape, list[Probe]] = {}
    for index, probe in enumerate(plan.probes):
        if probe.type is ProbeType.RAW_TRACEPOINT:
            attached.append(_attach_tracepoint(loader, probe, index))
        else:
            functions.setdefault(probe.shape, []).append(probe)
    if functions and (plan.load_each or not loader.knows_function_address):
        for group in functions.values():
            for probe in group:
                attached.extend(_attach_one_by_one(loader, plan, [probe], probe.address))
    else:
        at_once = sum(map(len, functions.values())) >= _MANY
        for group in functions.values():
            attached.extend(_attach_functions(loader, plan, group, at_once))
    if plan.program.tracking and not plan.followed:
        attached.extend(_attach_forgetting(loader))
    if not any(a.probes for a in attached):
        raise RetisError("the kernel refuses every probe: see why with --log-level debug")
    return attached


def attach_function(loader: Loader, plan: Plan, probe: Probe) -> list[Attached]:
    """Attach one more function, while the collection runs; empty where the kernel refuses it."""
    number = 0 if loader.knows_function_address and not plan.load_each else probe.address
    attached = _attach_one_by_one(loader, plan, [replace(probe, optional=True)], number)
    return attached if attached[-1].probes else []


def _attach_tracepoint(loader: Loader, probe: Probe, index: int) -> Attached:
    constants = {PROBE_NUMBER: index, PROBE_SHAPE: probe.shape.number}
    fd = loader.load("raw_tracepoint", ProgramType.RAW_TRACEPOINT, constants=constants)
    try:
        loader.attach_raw_tracepoint(probe.name, fd)
    except OSError as error:
        _refused(probe, error)
        return Attached(fd, ())
    return Attached(fd, (probe,))


def _attach_forgetting(loader: Loader) -> list[Attached]:
    # Last, so that at a tracepoint that is probed too the event still has its packet's id.
    attached = []
    for function in dict.fromkeys(FREEING_TRACEPOINTS.values()):
        # The kernel skips a program that runs already on this CPU, and much is freed in interrupts
        # on top of what is being freed: of two copies one is always at hand.
        copies = [loader.load(function, ProgramType.RAW_TRACEPOINT) for _ in range(2)]
        attached.append(Attached(copies[0], (), spares=tuple(copies[1:])))
        for name in (n for n, f in FREEING_TRACEPOINTS.items() if f == function):
            try:
                for copy in copies:
                    loader.attach_raw_tracepoint(name, copy)
            except OSError as error:
                log.warning("cannot follow packets until they are freed: %s: %s", name, error)
    return attached


def _attach_followed(loader: Loader, followed: Sequence[FollowedProbe]) -> list[Attached]:
    attached = []
    for each in followed:
        probe = each.probe
        steps = [(each.followed.at_entry, False)]
        if each.followed.at_return is not None:
            steps.insert(0, (each.followed.at_return, True))
        constants = {PROBE_NUMBER: probe.address, PROBE_SHAPE: probe.shape.number}
        try:
            for function, at_return in steps:
                fd = loader.load(function, ProgramType.KPROBE, constants=constants)
                link = loader.attach_kprobe(fd, probe.address, at_return)
                attached.append(Attached(fd, (), (link,)))
        except OSError as error:
            log.warning("cannot follow packets through %s: %s", probe.symbol, error.strerror)
    return attached


def _attach_functions(
    loader: Loader, plan: Plan, probes: list[Probe], at_once: bool
) -> list[Attached]:
    """Attach functions of one shape."""
    if at_once:
        mark = loader.mark()
        try:
            return _attach_at_once(loader, plan, probes)
        except OSError as error:
            loader.detach_since(mark)
            log.debug(
                "kprobe.multi for %d functions: %s; attaching them one by one", len(probes), error
            )
    return _attach_one_by_one(loader, plan, probes, 0)


def _steps(plan: Plan, shape: Shape) -> list[tuple[str, bool]]:
    """Return which functions of the program to attach, and whether at the return.

    The return first: an entry without its return would be kept for nothing.
    """
    if shape.type is ProbeType.KRETPROBE:
        return [("kretprobe", True), ("kretprobe_entry", False)]
    handles = plan.program.stack_context and any(field == "skb" for field, _ in shape.arguments)
    return [(HANDLING_ENDS, True), ("kprobe", False)] if handles else [("kprobe", False)]


def _attach_at_once(loader: Loader, plan: Plan, probes: list[Probe]) -> list[Attached]:
    shape = probes[0].shape
    constants = {PROBE_NUMBER: 0, PROBE_SHAPE: shape.number}
    attached = []
    for function, at_return in _steps(plan, shape):
        fd = loader.load(function, ProgramType.KPROBE, AttachType.TRACE_KPROBE_MULTI, constants)
        link = loader.attach_kprobes(fd, [probe.address for probe in probes], at_return)
        attached.append(Attached(fd, tuple(probes), (link,)))
    return attached


def _attach_one_by_one(
    loader: Loader, plan: Plan, probes: list[Probe], number: int
) -> list[Attached]:
    """Attach functions of one shape; a ``number`` that is not 0 is the one function's address."""
    shape = probes[0].shape
    constants = {PROBE_NUMBER: number, PROBE_SHAPE: shape.number}
    attached = []
    for function, at_return in _steps(plan, shape):
        fd = loader.load(function, ProgramType.KPROBE, constants=constants)
        accepted, links = [], []
        for probe in probes:
            try:
                links.append(loader.attach_kprobe(fd, probe.address, at_return))
            except OSError as error:
                _refused(probe, error)
            else:
                accepted.append(probe)
        attached.append(Attached(fd, tuple(accepted), tuple(links)))
        probes = accepted
    return attached


def _refused(probe: Probe, error: OSError) -> None:
    if not probe.optional:
        raise refusal(probe, error) from error
    log.warning("%s; going on without it", refusal(probe, error))
