"""What ``retis collect`` does: plan, attach, hand events on, and say at the end what was lost."""

import logging
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retis_py import __version__
from retis_py.cli.status import StatusLine
from retis_py.cli.stop import Stop
from retis_py.cli.text_output import coloured
from retis_py.collect.compiler import Compiler
from retis_py.collect.enrich import FlowEnricher
from retis_py.collect.flow_questions import FlowQuestions
from retis_py.collect.losses import Losses
from retis_py.collect.plan import Plan, PlanOptions, make_plan
from retis_py.collect.prerequisites import check_collecting
from retis_py.collect.session import Session, size_of_ring
from retis_py.collectors.nft import DEFAULT_NFT_VERDICTS, parse_nft_verdicts
from retis_py.collectors.registry import CollectorOptions
from retis_py.collectors.skb import SkbPart, parse_skb_sections
from retis_py.errors import EventFileError, MissingPrerequisite, RetisError
from retis_py.events.escape import escape
from retis_py.events.event import Event
from retis_py.events.rotate import RotatingWriter
from retis_py.events.sections.common import Common
from retis_py.events.sections.startup import Machine, Startup, TimeSpec
from retis_py.events.text import TextFormat
from retis_py.events.writer import EventWriter
from retis_py.kernel.host import Host, clock_monotonic_offset
from retis_py.probes.probe import parse_probe
from retis_py.process.printer import Printer

if TYPE_CHECKING:
    from collections.abc import Callable

    # Gives fields of the startup section, when they are found out.
    AddToStartup = Callable[[], dict[str, Any]]

log = logging.getLogger(__name__)

RETIS_VERSION = f"v1.7.0+retis-py.{__version__}"
"""What event files say they were written by: retis 1.7 reads it as its own."""


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """The command line of ``retis collect``, sizes in bytes."""

    collectors: tuple[str, ...]
    probes: tuple[str, ...]
    stack: bool
    probe_stack: bool
    defaults: bool  # whether the default probes may be used
    packet_filter: str | None
    meta_filter: str | None
    skb_sections: tuple[str, ...]
    snaplen: int
    nft_verdicts: tuple[str, ...]
    ovs_track: bool
    ovs_enrich_flows: bool
    ovs_enrich_rate: int
    out: Path | None
    out_rotate: int | None
    print_too: bool
    cmd: str | None
    stop_after: int | None
    ready_file: Path | None
    buffer_size: int
    allow_system_changes: bool
    perf_buffer: bool
    load_each: bool
    tracking_entries: int
    text_format: TextFormat
    kconf: Path | None


class Collection:
    """One run of ``retis collect``."""

    def __init__(self, options: CollectOptions) -> None:
        self._options = options
        sections = parse_skb_sections(options.skb_sections)
        verdicts = parse_nft_verdicts(options.nft_verdicts or DEFAULT_NFT_VERDICTS)
        self._plan_options = PlanOptions(
            collectors=options.collectors,
            probes=tuple(parse_probe(text) for text in options.probes),
            stack=options.stack,
            probe_stack=options.probe_stack,
            defaults=options.defaults,
            packet_filter=options.packet_filter,
            meta_filter=options.meta_filter,
            perf_buffer=options.perf_buffer,
            load_each=options.load_each,
            collector_options=CollectorOptions(
                sections, options.snaplen, verdicts, options.ovs_track, options.ovs_enrich_flows
            ),
        )
        self._text_format = options.text_format
        if SkbPart.ETH in sections:
            self._text_format = replace(self._text_format, link_layer=True)
        self._host = Host(kconf=options.kconf)
        self._clock = clock_monotonic_offset()
        self._status = StatusLine()

    def run(self, compiler: Compiler | None) -> None:
        """Collect; without a compiler only print the program."""
        if compiler is not None:
            check_collecting(self._host, self._options.perf_buffer)
        with self._host.tracefs(self._options.allow_system_changes) as tracefs:
            plan = make_plan(self._plan_options, self._host, tracefs)
            if compiler is None:
                click.echo(plan.program.text)
            else:
                self._collect(plan, compiler)

    def _collect(self, plan: Plan, compiler: Compiler) -> None:
        options = self._options
        with ExitStack() as closing:
            writer = printer = None
            added = []
            if options.out is not None:
                # They take their time while the program is compiled.
                added = [collector.begin_startup() for collector in plan.collectors]
            if options.out is None or options.print_too:
                printer = self._printer()
            session = closing.enter_context(
                Session(
                    plan,
                    compiler,
                    self._host,
                    size_of_ring(options.buffer_size),
                    options.tracking_entries,
                )
            )
            startup = self._startup_event(added)
            self._run_collectors(plan, closing)
            # Only now, so that a file of that name stays if the program does not compile or load,
            # or a collector may not do what it was told to.
            if options.out is not None:
                writer = closing.enter_context(self._writer(options.out, startup))
            stop = Stop()
            log.info("%d probe(s) loaded", session.attach())
            _touch(options.ready_file)
            if options.cmd is not None:
                stop.run(options.cmd)
            enricher = self._enricher(plan)
            try:
                losses = self._run(session, stop, writer, printer, enricher)
            except EventFileError:
                session.stop()
                received = session.events + session.pending
                # The startup event may be among the lines that are not in the file.
                missing = min(received, session.pending + (writer.unwritten if writer else 0))
                log.warning(
                    "%s of %s event(s) are not in the file", f"{missing:,}", f"{received:,}"
                )
                raise
            finally:
                self._status.clear()
                stop.finish()
            _report(session.events, losses)
            if isinstance(writer, RotatingWriter):
                pieces = writer.pieces
                what = "file" if len(pieces) == 1 else "files"
                log.info(
                    "%d %s written; '%s..' stands for all",
                    len(pieces),
                    what,
                    escape(str(pieces[0])),
                )
            for what, count in session.stale.counts.items():
                log.info("%s %s: no longer followed", f"{count:,}", what)

    def _run_collectors(self, plan: Plan, closing: ExitStack) -> None:
        for collector in plan.collectors:
            try:
                closing.enter_context(collector.running(self._options.allow_system_changes))
            except MissingPrerequisite as error:
                if collector.name in self._options.collectors:
                    raise
                log.warning("%s", error)

    def _enricher(self, plan: Plan) -> FlowEnricher | None:
        if not self._options.ovs_enrich_flows or all(c.name != "ovs" for c in plan.collectors):
            return None
        return FlowEnricher(FlowQuestions(self._options.ovs_enrich_rate))

    def _run(
        self,
        session: Session,
        stop: Stop,
        writer: EventWriter | None,
        printer: Printer | None,
        enricher: FlowEnricher | None,
    ) -> Losses:
        """Handle events until the end; return what was lost until then."""
        handlers: list[Callable[[Event], None]] = []
        if writer is not None:
            handlers.append(writer.write)
        if printer is not None:
            handlers.append(printer.event)
        if enricher is not None:
            handlers.append(enricher.see)
            enricher.start()

        def handle(event: Event) -> None:
            self._status.clear()
            for handler in handlers:
                handler(event)

        def idle() -> None:
            for event in enricher.poll() if enricher is not None else ():
                handle(event)
            if printer is not None:
                printer.flush()
            if writer is not None:
                writer.flush()
            if self._status.due:
                self._status.show(session.events, session.losses())

        def is_over() -> bool:
            nobody_reads = printer is not None and printer.closed and writer is None
            return nobody_reads or stop.is_over()

        session.run(handle, is_over, idle, self._options.stop_after)
        idle()
        losses = session.losses()
        if enricher is not None:
            for event in enricher.finish():
                handle(event)
            idle()
        return losses

    def _printer(self) -> Printer:
        if sys.stdout is None:
            raise RetisError("the standard output is closed: open it, or write to a file with -o")
        offset = TimeSpec(self._clock.sec, self._clock.nsec).ns
        fmt = replace(self._text_format, clock_offset=offset, colour=coloured())
        return Printer(sys.stdout.buffer, fmt)

    def _writer(self, path: Path, startup: Event) -> EventWriter:
        """Create the event file, or the first of its pieces, with the startup event in it."""
        limit = self._options.out_rotate
        if limit is not None:
            writer = RotatingWriter(path, limit, startup)
            if path.is_file():
                log.warning(
                    "%s of an earlier collection stays beside %s; where no file is named it is"
                    " the one that is read",
                    escape(str(path)),
                    escape(str(writer.pieces[0])),
                )
            return writer
        plain = EventWriter(path)
        plain.write(startup)
        return plain

    def _startup_event(self, added: "list[AddToStartup]") -> Event:
        return Event(
            Common(timestamp=time.monotonic_ns()),
            startup=Startup(
                retis_version=RETIS_VERSION,
                cmdline=shlex.join(["retis", *sys.argv[1:]]),
                clock_monotonic_offset=TimeSpec(*self._clock),
                machine=Machine(*self._host.machine),
                **{name: value for finish in added for name, value in finish().items()},
            ),
        )


def _touch(path: Path | None) -> None:
    if path is None:
        return
    try:
        path.touch()
    except OSError as error:
        raise RetisError(f"cannot touch the ready file {path}: {error.strerror}") from error


def _report(events: int, losses: Losses) -> None:
    log.info("%s event(s)%s", f"{events:,}", "" if losses else ", none lost")
    for (probe, cause), count in losses.most_common():
        log.warning("%s event(s) lost at %s: %s", f"{count:,}", probe, cause)
