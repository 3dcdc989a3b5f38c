"""``retis collect``: trace packets on the running kernel."""

import logging
import re
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retis_py import __version__
from retis_py.cli.globals import GlobalOptions
from retis_py.cli.options import text_options
from retis_py.cli.profile_args import ProfiledCommand
from retis_py.cli.status import StatusLine
from retis_py.cli.stop import Stop
from retis_py.collect.compiler import Compiler
from retis_py.collect.losses import Losses
from retis_py.collect.plan import PlanOptions, make_plan
from retis_py.collect.session import Session, size_of_ring
from retis_py.collectors.registry import CollectorOptions
from retis_py.collectors.skb import SkbPart, parse_skb_sections
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.events.event import Event
from retis_py.events.jsonl import EventWriter
from retis_py.events.sections.common import Common
from retis_py.events.sections.startup import Machine, Startup, TimeSpec
from retis_py.events.text import TextFormat
from retis_py.kernel.host import ClockOffset, Host, clock_monotonic_offset
from retis_py.probes.probe import parse_probe
from retis_py.process.printer import Printer

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

RETIS_VERSION = f"v1.7.0+retis-py.{__version__}"
"""What event files say they were written by: retis 1.7 reads it as its own."""

_SIZE = re.compile(r"(\d+)\s*(?:([kMG])(?:i?B)?|B)?", re.IGNORECASE)
_SIZE_UNITS = {"": 0, "k": 10, "m": 20, "g": 30}
_LARGEST_BUFFER = 1 << 31
_NEEDED = ("CAP_BPF", "CAP_PERFMON")


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """A number of bytes: ``16MB``, ``512k``; units are powers of 1024."""

    name = "SIZE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        size = int(match[1]) << _SIZE_UNITS[(match[2] or "").lower()] if match else 0
        if not 0 < size <= _LARGEST_BUFFER:
            self.fail(f"'{value}' is no size from 1 byte to 2GB, as in 16MB", param, ctx)
        return size


def _split(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Where events go and how the command says what it does."""

    out: Path | None
    print_too: bool
    ready_file: Path | None
    cmd: str | None
    stop_after: int | None
    text_format: TextFormat


@click.command("collect", cls=ProfiledCommand)
@click.option(
    "-c",
    "--collectors",
    metavar="NAME[,NAME]",
    multiple=True,
    callback=_split,
    help="Collectors to use, all of which must be able to run; 'auto' stands for those that can "
    "and is the default.",
)
@click.option(
    "-p",
    "--probe",
    "probes",
    metavar="[TYPE:]TARGET[/stack]",
    multiple=True,
    help="Function or tracepoint to probe: kprobe (k), kretprobe (kr) or raw_tracepoint (tp), "
    "wildcards allowed: 'ip_rcv', 'kprobe:tcp_*', 'tp:skb:kfree_skb/stack'. "
    "May be given several times.",
)
@click.option("--stack", is_flag=True, help="Add a stack trace to the events of all probes.")
@click.option(
    "--skb-sections",
    metavar="NAME[,NAME]",
    multiple=True,
    callback=_split,
    help="Metadata that the collector skb adds to the packet: all, eth, meta, dataref, gso.",
)
@click.option(
    "--snaplen",
    type=click.IntRange(14, 1024),
    default=255,
    show_default=True,
    help="Bytes of a packet to take at most.",
)
@click.option(
    "-o",
    "--out",
    metavar="[FILE]",
    is_flag=False,
    flag_value="retis.data",
    type=click.Path(path_type=Path),
    help="Write events to FILE (default: retis.data) instead of the terminal.",
)
@click.option("--print", "print_too", is_flag=True, help="With --out: show events too.")
@click.option(
    "--cmd", metavar="COMMAND", help="Run a shell command once probes are attached; stop with it."
)
@click.option(
    "--stop-after",
    metavar="COUNT",
    type=click.IntRange(min=1),
    help="Stop after that many events.",
)
@click.option(
    "--ready-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Touch FILE once everything is attached.",
)
@click.option(
    "--buffer-size",
    type=Size(),
    default="16MB",
    show_default=True,
    help="Memory for events on their way from the kernel; rounded up to a power of two.",
)
@click.option(
    "--allow-system-changes",
    is_flag=True,
    help="Allow changes to the system that help, undone at the end: mounting tracefs.",
)
@click.option("--print-bpf", is_flag=True, help="Print the BPF program's C text and end.")
@click.option("--perf-buffer", is_flag=True, hidden=True, help="Use perf buffers, for tests.")
@text_options
@click.pass_obj
def collect_command(
    options: GlobalOptions,
    *,
    collectors: tuple[str, ...],
    probes: tuple[str, ...],
    stack: bool,
    skb_sections: tuple[str, ...],
    snaplen: int,
    out: Path | None,
    print_too: bool,
    cmd: str | None,
    stop_after: int | None,
    ready_file: Path | None,
    buffer_size: int,
    allow_system_changes: bool,
    print_bpf: bool,
    perf_buffer: bool,
    text_format: TextFormat,
) -> None:
    """Trace packets on the running kernel.

    Without options packets are shown as they come in and go out of network devices, and where
    they are dropped. Needs root.
    """
    sections = parse_skb_sections(skb_sections)
    if SkbPart.ETH in sections:
        text_format = replace(text_format, link_layer=True)
    plan_options = PlanOptions(
        collectors=collectors,
        probes=tuple(parse_probe(text) for text in probes),
        stack=stack,
        defaults=not collectors and not options.profiles,
        perf_buffer=perf_buffer,
        collector_options=CollectorOptions(sections, snaplen),
    )
    host = Host(kconf=options.kconf)
    _check_privileges(host)
    with ExitStack() as stack_of_resources:
        # Started first: it imports bcc while the plan is made.
        compiler = None if print_bpf else stack_of_resources.enter_context(Compiler())
        tracefs = stack_of_resources.enter_context(host.tracefs(allow_system_changes))
        plan = make_plan(plan_options, host, tracefs)
        if compiler is None:
            click.echo(plan.program.text)
            return
        outputs = _Outputs(out, print_too, ready_file, cmd, stop_after, text_format)
        session = Session(plan, compiler, host, size_of_ring(buffer_size))
        with session:
            _collect(session, host, outputs)


def _check_privileges(host: Host) -> None:
    held = host.capabilities
    missing = [name for name in _NEEDED if name not in held]
    if missing and "CAP_SYS_ADMIN" not in held:
        raise MissingPrerequisite(
            f"collecting needs privileges that this process lacks ({', '.join(missing)}):"
            " run it as root, for example with sudo"
        )


def _collect(session: Session, host: Host, outputs: _Outputs) -> None:
    offset = clock_monotonic_offset()
    stop = Stop()
    status = StatusLine()
    with ExitStack() as closing:
        handlers: list[Callable[[Event], None]] = []
        writer = printer = None
        if outputs.out is not None:
            writer = closing.enter_context(EventWriter(outputs.out))
            writer.write(_startup_event(host, offset))
            handlers.append(writer.write)
        if outputs.out is None or outputs.print_too:
            text_format = replace(
                outputs.text_format, clock_offset=offset.sec * 1_000_000_000 + offset.nsec
            )
            printer = Printer(sys.stdout.buffer, text_format)
            handlers.append(printer.event)

        def handle(event: Event) -> None:
            for handler in handlers:
                handler(event)

        def idle() -> None:
            if printer is not None:
                status.clear()
                printer.flush()
            if writer is not None:
                writer.flush()
            if status.due:
                status.show(session.events, session.losses())

        def is_over() -> bool:
            reader_gone = printer is not None and printer.closed and writer is None
            return reader_gone or stop.is_over()

        log.info("%d probe(s) loaded", session.attach())
        _say_ready(outputs.ready_file)
        if outputs.cmd is not None:
            stop.run(outputs.cmd)
        try:
            session.run(handle, is_over, idle, outputs.stop_after)
            idle()
        finally:
            status.clear()
            stop.finish()
        _report(session.events, session.losses())


def _say_ready(path: Path | None) -> None:
    if path is None:
        return
    try:
        path.touch()
    except OSError as error:
        raise RetisError(f"cannot touch the ready file {path}: {error.strerror}") from error


def _startup_event(host: Host, offset: ClockOffset) -> Event:
    machine = host.machine
    return Event(
        Common(timestamp=time.monotonic_ns()),
        startup=Startup(
            retis_version=RETIS_VERSION,
            cmdline=shlex.join(["retis", *sys.argv[1:]]),
            clock_monotonic_offset=TimeSpec(offset.sec, offset.nsec),
            machine=Machine(machine.kernel_release, machine.kernel_version, machine.hardware_name),
        ),
    )


def _report(events: int, losses: Losses) -> None:
    log.info("%s event(s)%s", f"{events:,}", "" if losses else ", none lost")
    for (probe, cause), count in losses.most_common():
        log.warning("%s event(s) lost at %s: %s", f"{count:,}", probe, cause)
