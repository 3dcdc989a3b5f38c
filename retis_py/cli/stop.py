"""What ends a collection: a signal, the end of ``--cmd``, a count of events."""

import logging
import os
import signal
import subprocess
import time
from types import FrameType

from retis_py.errors import RetisError

log = logging.getLogger(__name__)

# What a command sent may still be on its way through the stack when it ends (s).
_LINGER = 0.1


class Stop:
    """Becomes true once: on SIGINT or SIGTERM, or when a command has ended.

    A second signal ends the process at once, by its default action.
    """

    def __init__(self) -> None:
        self._signalled = False
        self._child: subprocess.Popen[bytes] | None = None
        self._ended_at: float | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def run(self, command: str) -> None:
        """Start a shell command whose end is the collection's.

        Raises:
            RetisError: it cannot be started.
        """
        try:
            self._child = subprocess.Popen(["/bin/sh", "-c", command])
        except OSError as error:
            raise RetisError(f"cannot run --cmd: {error.strerror}") from error

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
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._child.kill()
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
        if number == signal.SIGTERM and self._child and self._child.poll() is None:
            os.kill(self._child.pid, signal.SIGTERM)
