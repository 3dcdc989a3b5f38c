"""A collection from the moment its probes are attached to its end: two processes and the spool.

The process that the user started drains the rings; the other one decodes (``decode_spool``).
"""

import logging

from retis_py.cli.finishing import Finishing
from retis_py.cli.outputs import Outputs
from retis_py.cli.status import StatusLine
from retis_py.cli.stop import Stop
from retis_py.collect.channel import Channel, Done, Enough, Failed, Functions
from retis_py.collect.decoder_process import (
    DecoderKilledError,
    DecoderProcess,
    give_up_privileges,
)
from retis_py.collect.decoding import Decoding
from retis_py.collect.drain import raise_priority
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collect.losses import Losses
from retis_py.collect.own_symbols import OwnSymbols
from retis_py.collect.plan import Plan
from retis_py.collect.probe_stack import StackWatcher
from retis_py.collect.session import Session
from retis_py.collect.spool import Spool
from retis_py.errors import EventFileError, RetisError
from retis_py.events.escape import escape
from retis_py.kernel.host import Host
from retis_py.kernel.libc import CAP_DAC_OVERRIDE, CAP_SYSLOG

log = logging.getLogger(__name__)


def decode_spool(
    plan: Plan,
    host: Host,
    spool: Spool,
    outputs: Outputs,
    channel: Channel,
    *,
    limit: int | None,
) -> int:
    """Be the process that decodes; return its exit code.

    ``limit`` is how many events are wanted at most.
    """
    watcher = None
    if plan.stack_probing is not None:
        watcher = StackWatcher(
            lambda names: channel.send(Functions(names)),
            plan.probes,
            plan.stack_probing.hidden,
            plan.stack_probing.show_all,
        )
    has_stacks = watcher is not None or any(probe.stack for probe in plan.probes)
    kept = [CAP_SYSLOG] if has_stacks else []  # to see addresses in /proc/kallsyms
    if outputs.creates_files:
        kept.append(CAP_DAC_OVERRIDE)
    symbols = OwnSymbols(host.symbols.resolve)
    decoding = Decoding(
        spool.descriptor,
        spool.limit,
        channel,
        JsonDecoder(plan.program.parts, plan.probes, symbols.resolve),
        outputs,
        symbols=symbols,
        give_up_privileges=lambda: give_up_privileges(kept),
        watcher=watcher,
        limit=limit,
    )
    try:
        cut_off = decoding.run()
    except RetisError as error:
        channel.send(Failed(type(error).__name__, str(error), outputs.written))
        outputs.discard()
        return 1
    outputs.close()
    if cut_off:
        log.error(
            "the collecting process has ended early: the %s event(s) that it had received are %s",
            f"{spool.control.events:,}",
            "in the file" if outputs.has_file else "shown",
        )
        spool.close()
    return int(cut_off)


class RunningCollection:
    """Drains until something says stop, then waits for the decoder."""

    def __init__(
        self,
        session: Session,
        spool: Spool,
        decoder: DecoderProcess,
        stop: Stop,
        status: StatusLine,
    ) -> None:
        self._session = session
        self._spool = spool
        self._decoder = decoder
        self._stop = stop
        self._status = status
        self.interrupted = False
        """Whether decoding was cut short by a signal, so that not all is in the outputs."""

    def run(self) -> Losses:
        """Collect; return what was lost.

        Raises:
            RetisError: an output failed, or the decoder was killed; what is not in the outputs
                stays in the spool.
        """
        try:
            try:
                enough = self._drain()
                self._session.stop(wanted=not enough)
            finally:
                self._status.clear()
                self._stop.finish()
            finishing = Finishing(self._decoder, self._spool.control)
            finishing.run()
            self.interrupted = finishing.interrupted and bool(self._unread)
            if self.interrupted:
                self._spool.keep()
        except EventFileError:
            self._session.stop()
            self._status.clear()
            received = self._spool.control.received
            missing = received - min(received, self._decoder.written)
            log.warning("%s of %s event(s) are not in the file", f"{missing:,}", f"{received:,}")
            self._keep_unread()
            raise
        except DecoderKilledError as error:
            self._session.stop()
            self._status.clear()
            self._keep_unread()
            raise RetisError(
                f"the process that decodes events has {error}: {self._where()}"
            ) from None
        return self._session.losses()

    def report_unread(self) -> None:
        """Say what was not decoded."""
        if self.interrupted:
            log.warning("decoding was interrupted: %s", self._where())

    @property
    def _unread(self) -> int:
        control = self._spool.control
        return control.received - control.events

    def _drain(self) -> bool:
        """Collect until it is over; return whether that is because no more events are wanted."""
        raise_priority()
        while not self._stop.is_over():
            wait = self._session.step()
            if self._status.due:
                self._status.show(self._spool.control.received, self._session.losses())
            message = self._decoder.receive(wait)
            if isinstance(message, Functions):
                self._session.probe_functions(message.names)
            elif isinstance(message, Enough | Done):
                return True
        return False

    def _keep_unread(self) -> None:
        if self._unread:
            self._spool.keep()

    def _where(self) -> str:
        unread = f"{self._unread:,} of {self._spool.control.received:,} event(s)"
        if not self._spool.kept:
            return f"{unread} were not shown"
        name = escape(str(self._spool.path))
        return f"{unread} are in {name} only, which 'retis print {name}' and 'retis sort' read"
