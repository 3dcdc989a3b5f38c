"""A collection from the moment its probes are attached to its end: two processes and the spool.

The process that the user started drains the rings; the other one decodes (decoder_main.py).
"""

import logging
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from retis_py.cli.finishing import Finishing
from retis_py.cli.log import messages_that_wait
from retis_py.cli.status import StatusLine
from retis_py.cli.stop import Stop
from retis_py.collect.channel import Channel, Done, Enough, Functions
from retis_py.collect.decoder_process import DecoderKilledError, DecoderProcess
from retis_py.collect.drain import lower_priority, raise_priority
from retis_py.collect.losses import Losses
from retis_py.collect.plan import Plan
from retis_py.collect.session import Session
from retis_py.collect.spool import Spool
from retis_py.collect.spool_format import Control
from retis_py.errors import EventFileError, RetisError
from retis_py.events.escape import escape
from retis_py.events.text import TextFormat
from retis_py.kernel.host import Host

log = logging.getLogger(__name__)


class WantedOutput(Struct, frozen=True):
    """What is to become of events.

    They go to the file ``out``, in pieces of ``rotate`` bytes if given, and as text to the standard
    output where ``text_format`` is given; at most ``limit`` of them. ``enrich_rate`` is how many
    requests a second ovs-vswitchd gets for the flows in them, None where it is not asked.
    ``decoders`` processes help to decode, None for as many as there are CPUs for.
    """

    out: Path | None
    rotate: int | None
    text_format: TextFormat | None
    limit: int | None
    enrich_rate: int | None
    decoders: int | None


def start_decoder(plan: Plan, host: Host, spool: Spool, wanted: WantedOutput) -> DecoderProcess:
    """Start the process that decodes; before there is anything of BPF that it would keep alive."""

    def decode(channel: Channel) -> int:
        from retis_py.cli.decoder_main import decode_spool  # noqa: PLC0415 (in that process only)

        return decode_spool(plan, host, spool, channel, wanted)

    return DecoderProcess(decode, [spool.descriptor])


class RunningCollection:
    """Drains until something says stop, then waits for the decoder.

    ``give_up_privileges`` is called before anything is drained.
    """

    def __init__(
        self,
        session: Session,
        spool: Spool,
        decoder: DecoderProcess,
        stop: Stop,
        status: StatusLine,
        *,
        give_up_privileges: Callable[[], None],
    ) -> None:
        self._session = session
        self._spool = spool
        self._decoder = decoder
        self._stop = stop
        self._status = status
        self._give_up_privileges = give_up_privileges
        self.interrupted = False
        """Whether decoding was cut short by a signal, so that not all is in the outputs."""

    def run(self) -> Losses:
        """Collect; return what was lost.

        Raises:
            RetisError: an output failed, or the decoder was killed.

        Whatever it raises, what is not in the outputs stays in the spool.
        """
        try:
            try:
                with messages_that_wait():
                    self._capture()
            finally:
                self._status.clear()
                self._stop.finish()
            finishing = Finishing(self._decoder, self._spool.control)
            finishing.run()
            self.interrupted = finishing.interrupted and bool(self._unread)
            if self.interrupted:
                self._spool.keep()
        except DecoderKilledError as error:
            self._keep_unread()
            raise RetisError(
                f"the process that decodes events has {error}: {self._where()}"
            ) from None
        except BaseException as error:
            self._keep_unread()
            if isinstance(error, EventFileError):
                received = self._spool.control.received
                missing = received - min(received, self._decoder.written)
                log.warning(
                    "%s of %s event(s) are not in the file", f"{missing:,}", f"{received:,}"
                )
            if self._spool.kept:
                log.warning("%s", self._where())
            raise
        return self._session.losses()

    def report_unread(self) -> None:
        """Say what was not decoded."""
        if self.interrupted:
            log.warning("decoding was interrupted: %s", self._where())

    @property
    def _unread(self) -> int:
        control = self._spool.control
        return control.received - control.events

    def _capture(self) -> None:
        """Collect until it is over, and fetch what is left."""
        enough = False
        try:
            enough = self._drain()
        finally:
            self._session.stop(wanted=not enough)

    def _drain(self) -> bool:
        """Collect until it is over; return whether that is because no more events are wanted."""
        raise_priority()
        self._give_up_privileges()
        try:
            return self._drain_until_over()
        finally:
            lower_priority()

    def _drain_until_over(self) -> bool:
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
        return where_unread(self._spool.control, self._spool.path if self._spool.kept else None)


def where_unread(control: Control, path: Path | None) -> str:
    """Say what of a collection was not decoded, and that it is in the spool ``path``, if it is."""
    unread = f"{control.received - control.events:,} of {control.received:,} event(s)"
    if path is None:
        return f"{unread} were not shown"
    name = escape(str(path))
    return f"{unread} are in {name} only, which 'retis print {name}' and 'retis sort' read"
