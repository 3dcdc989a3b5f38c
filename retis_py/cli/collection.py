"""What ``retis collect`` does: plan, attach, hand events on, and say at the end what was lost."""

import logging
import os
import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct
from msgspec.structs import replace

from retis_py import __version__
from retis_py.cli.running import RunningCollection, WantedOutput, start_decoder
from retis_py.cli.status import StatusLine
from retis_py.cli.stop import Stop
from retis_py.cli.text_output import coloured
from retis_py.collect.channel import Go, Ready
from retis_py.collect.compiler import Compiler
from retis_py.collect.losses import Losses
from retis_py.collect.own_folder import remove_left_folders
from retis_py.collect.plan import Plan, PlanOptions, make_plan
from retis_py.collect.prerequisites import check_collecting
from retis_py.collect.privileges import give_up_privileges, locked_memory, removes_from
from retis_py.collect.rings import choose_rings
from retis_py.collect.session import Session
from retis_py.collect.spool import Spool, create_spool
from retis_py.collectors.nft_verdicts import DEFAULT_NFT_VERDICTS, parse_nft_verdicts
from retis_py.collectors.registry import CollectorOptions
from retis_py.collectors.skb import SkbPart, parse_skb_sections
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.events.escape import escape
from retis_py.events.event import Event, encode
from retis_py.events.rotate import piece_path
from retis_py.events.sections.common import Common
from retis_py.events.sections.startup import Machine, Startup, TimeSpec
from retis_py.events.text import TextFormat
from retis_py.held_signals import held_signals
from retis_py.kernel.capabilities import Capability
from retis_py.kernel.host import Host, clock_monotonic_offset
from retis_py.kernel.tracefs import Tracefs
from retis_py.private_files import create
from retis_py.probes.probe import parse_probe

if TYPE_CHECKING:
    from collections.abc import Callable

    # Gives fields of the startup section, when they are found out.
    AddToStartup = Callable[[], dict[str, Any]]

log = logging.getLogger(__name__)

RETIS_VERSION = f"v1.7.0+retis-py.{__version__}"
"""What event files say they were written by: retis 1.7 reads it as its own."""

_LONG = 60.0  # s
_FOR_ALL = 0o644  # there is nothing in it
_INTERRUPTED = 128 + 2  # exit code: SIGINT, as a shell reports it


class CollectOptions(Struct, frozen=True):
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
    spool_limit: int | None
    allow_system_changes: bool
    perf_buffer: bool
    load_each: bool
    tracking_entries: int
    decoders: int | None
    text_format: TextFormat
    kconf: Path | None


class Collection:
    """One run of ``retis collect``."""

    def __init__(self, options: CollectOptions) -> None:
        self._options = options
        sections = parse_skb_sections(options.skb_sections)
        self._host = Host(kconf=options.kconf)
        self._rings = choose_rings(options.buffer_size, len(self._host.online_cpu_numbers))
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
            rings=self._rings.number,
            load_each=options.load_each,
            collector_options=CollectorOptions(
                sections, options.snaplen, verdicts, options.ovs_track, options.ovs_enrich_flows
            ),
        )
        self._text_format = options.text_format
        if SkbPart.ETH in sections:
            self._text_format = replace(self._text_format, link_layer=True)
        self._clock = clock_monotonic_offset()
        self._status = StatusLine()
        self._unmounts = False

    def run(self, compiler: Compiler | None) -> None:
        """Collect; without a compiler only print the program."""
        if compiler is not None:
            check_collecting(self._host, self._options.perf_buffer)
            remove_left_folders()
        with self._host.tracefs(self._options.allow_system_changes) as tracefs:
            self._unmounts = Tracefs.is_ours(self._host.root)
            plan = make_plan(self._plan_options, self._host, tracefs)
            if compiler is None:
                click.echo(plan.program.text)
            else:
                self._collect(plan, compiler)

    def _collect(self, plan: Plan, compiler: Compiler) -> None:
        options = self._options
        if self._rings.total != options.buffer_size:
            log.info(
                "--buffer-size: %s bytes are used, %d ring(s) of %s",
                f"{self._rings.total:,}",
                self._rings.number,
                f"{self._rings.size:,}",
            )
        with ExitStack() as closing:
            # Whatever signal comes, neither is left behind.
            with held_signals():
                spool = closing.enter_context(create_spool(options.out, options.spool_limit))
                decoder = start_decoder(plan, self._host, spool, self._wanted(plan))
                closing.callback(decoder.close)
            added = []
            if options.out is not None:
                # They take their time while the program is compiled.
                added = [collector.begin_startup() for collector in plan.collectors]
            session = closing.enter_context(
                Session(
                    plan,
                    compiler,
                    self._host,
                    spool,
                    rings=self._rings,
                    tracking_entries=options.tracking_entries,
                )
            )
            startup = self._startup_event(added)
            self._run_collectors(plan, closing)
            session.describe(encode(startup))
            # Only now, so that a file of that name stays if the program does not compile or load,
            # or a collector may not do what it was told to.
            decoder.channel.send(Go())
            while not isinstance(decoder.receive(_LONG), Ready):
                pass
            stop = Stop()
            log.info("%d probe(s) loaded", session.attach())
            _touch(options.ready_file)
            if options.cmd is not None:
                stop.run(options.cmd)
                if (command := stop.command) is not None:
                    decoder.channel.send(command)
            running = RunningCollection(
                session,
                spool,
                decoder,
                stop,
                self._status,
                give_up_privileges=lambda: self._give_up_privileges(plan, session, spool),
            )
            losses = running.run()
            _report(spool.control.events, losses)
            if decoder.pieces and options.out is not None:
                what = "file" if decoder.pieces == 1 else "files"
                log.info(
                    "%d %s written; '%s..' stands for all",
                    decoder.pieces,
                    what,
                    escape(str(piece_path(options.out, 0))),
                )
            for what, count in session.stale.counts.items():
                log.info("%s %s: no longer followed", f"{count:,}", what)
            running.report_unread()
            if running.interrupted:
                raise click.exceptions.Exit(_INTERRUPTED)

    def _wanted(self, plan: Plan) -> WantedOutput:
        options = self._options
        enriches = options.ovs_enrich_flows and any(c.name == "ovs" for c in plan.collectors)
        return WantedOutput(
            options.out,
            options.out_rotate,
            self._printed_format(),
            options.stop_after,
            options.ovs_enrich_rate if enriches else None,
            options.decoders,
        )

    def _give_up_privileges(self, plan: Plan, session: Session, spool: Spool) -> None:
        """Go on with what draining, and what is undone at the end, need."""
        kept = session.privileges | locked_memory()
        for collector in plan.collectors:
            kept |= collector.needs_to_undo
        if self._unmounts:
            kept |= {Capability.SYS_ADMIN}
        if self._options.cmd is not None:
            kept |= {Capability.KILL}  # it may be told to end, and may have become another user's
        trials = session.trials
        if spool.path is not None:
            trials += removes_from(spool.path.parent)
        give_up_privileges(kept, trials)

    def _run_collectors(self, plan: Plan, closing: ExitStack) -> None:
        for collector in plan.collectors:
            try:
                closing.enter_context(collector.running(self._options.allow_system_changes))
            except MissingPrerequisite as error:
                if collector.name in self._options.collectors:
                    raise
                log.warning("%s", error)

    def _printed_format(self) -> TextFormat | None:
        """Return how events are to be printed, None where they are not."""
        if self._options.out is not None and not self._options.print_too:
            return None
        offset = TimeSpec(self._clock.sec, self._clock.nsec).ns
        return replace(self._text_format, clock_offset=offset, colour=coloured())

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
        try:
            os.close(create(path, mode=_FOR_ALL))
        except FileExistsError:
            os.utime(path, follow_symlinks=False)
    except OSError as error:
        raise RetisError(f"cannot touch the ready file {path}: {error.strerror}") from error


def _report(events: int, losses: Losses) -> None:
    log.info("%s event(s)%s", f"{events:,}", "" if losses else ", none lost")
    for (probe, cause), count in losses.most_common():
        log.warning("%s event(s) lost at %s: %s", f"{count:,}", probe, cause)
