"""The end of a collection: what is in the spool is still decoded, which can be interrupted once."""

import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from retis_py.cli.log import takes_more
from retis_py.collect.channel import Cancel
from retis_py.collect.decoder_process import DecoderProcess
from retis_py.collect.spool_format import Control

_PATIENCE = 2.0  # s that a person waits without being told
_INTERVAL = 0.1  # s
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# The decoder notices within some milliseconds that it is to stop, unless nobody reads its output.
_LAST_CHANCE = 1.0  # s


class Finishing:
    """Waits until the decoder is done. ``interrupted`` says that a signal came first.

    A second signal ends the process at once, by its default action; the spool then stays.
    """

    def __init__(self, decoder: DecoderProcess, control: Control) -> None:
        self._decoder = decoder
        self._control = control
        self.interrupted = False
        self._bar: Any = None

    def run(self) -> None:
        """Wait. Raises what ``DecoderProcess.receive`` raises."""
        before = [signal.signal(number, self._on_signal) for number in _SIGNALS]
        try:
            self._wait()
        finally:
            self._end_bar()
            for number, handler in zip(_SIGNALS, before, strict=True):
                signal.signal(number, handler)

    def _wait(self) -> None:
        begun = time.monotonic()
        give_up = None
        while not self._decoder.done:
            self._decoder.receive(_INTERVAL)
            now = time.monotonic()
            if self.interrupted and give_up is None:
                self._decoder.channel.send(Cancel())
                give_up = now + _LAST_CHANCE
            if give_up is not None and now > give_up:
                self._decoder.kill()
                return
            if now - begun > _PATIENCE:
                self._show()

    def _show(self) -> None:
        if sys.stderr is None or not sys.stderr.isatty() or not takes_more(sys.stderr):
            return
        decoded, received = self._control.events, self._control.received
        with suppress(OSError):  # the terminal was closed
            if self._bar is None:
                self._bar = click.progressbar(length=received, label="decoding", file=sys.stderr)
                self._bar.render_progress()
            self._bar.update(decoded - self._bar.pos)

    def _end_bar(self) -> None:
        if self._bar is not None:
            with suppress(OSError):
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.interrupted = True
        signal.signal(number, signal.SIG_DFL)
