"""What ends a collection: a signal, the end of ``--cmd``, a count of events.

Ctrl-C and SIGTERM end it, and so does SIGHUP: the terminal was closed. Where SIGHUP was ignored
from the start (nohup) it is left so.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from retis_py.collect.channel import Command
from retis_py.errors import RetisError

if TYPE_CHECKING:
    import subprocess

log = logging.getLogger(__name__)

# What a command sent may still be on its way through the stack when it ends (s).
_LINGER = 0.1

# A command that is told to end gets this long (s).
_PATIENCE = 5


def unless_ignored(number: signal.Signals, handler: Callable[[int, FrameType | None], Any]) -> None:
    """Handle a signal, unless who started this process wants it ignored."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


class Stop:
    """Becomes true once: on SIGINT, SIGTERM or SIGHUP, or when a command has ended.

    A second SIGINT or SIGTERM ends the process at once, by its default action.
    """

    def __init__(self) -> None:
        self._signalled = False
        self._child: subprocess.Popen[bytes] | None = None
        self._has_group = False
        self._ended_at: float | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        unless_ignored(signal.SIGHUP, self._on_signal)

    def run(self, command: str) -> None:
        """Start a shell command whose end is the collection's.

        Raises:
            RetisError: it cannot be started.
        """
        import subprocess  # noqa: PLC0415 (not every start has a command)

        try:
            # In a group of its own, so that all that it starts can be ended with it; on a
            # terminal in ours, or it could not read from there and Ctrl-C would not reach it.
            group = None if sys.stdin and sys.stdin.isatty() else 0
            self._has_group = group is not None
            self._child = subprocess.Popen(["/bin/sh", "-c", command], process_group=group)
        except OSError as error:
            raise RetisError(f"cannot run --cmd: {error.strerror}") from error

    @property
    def command(self) -> Command | None:
        """The command that was started, for who has to end it if this process cannot."""
        return Command(self._child.pid, self._has_group) if self._child else None

    def is_over(self) -> bool:
        """Whether the collection is to end."""
        if self._signalled:
            return True
        if self._child is None or self._child.poll() is None:
            return False
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        return time.monotonic() - self._ended_at >= _LINGER

    def finish(self) -> None:
        """End a command that still runs and say how it ended."""
        if self._child is None:
            return
        from subprocess import TimeoutExpired  # noqa: PLC0415 (imported with the command)

        if self._child.poll() is None:
            self._signal_child(signal.SIGTERM)
            try:
                self._child.wait(timeout=_PATIENCE)
            except TimeoutExpired:
                self._signal_child(signal.SIGKILL)
                self._child.wait()
        status = self._child.returncode
        if status < 0:
            log.info("Command ended by %s", signal.Signals(-status).name)
        else:
            log.info("Command ended with exit code %d", status)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signalled = True
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        # A terminal that is closed says so twice: through the shell, and when the shell has ended.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self._has_group or number == signal.SIGTERM:
            self._signal_child(number)

    def _signal_child(self, number: int) -> None:
        if self._child is None or self._child.poll() is not None:
            return
        if self._has_group:
            os.killpg(self._child.pid, number)
        else:
            self._child.send_signal(number)
