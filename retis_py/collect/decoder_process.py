"""The process that decodes, seen from the one that collects: started, spoken to, waited for.

It is forked before there is any BPF map or program, and closes all files that are not its own: what
is held by descriptors, probes above all, goes with the collecting process however that ends.
"""

import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from retis_py import errors
from retis_py.collect.channel import Channel, Done, Failed, Gone, Message, channel_pair
from retis_py.errors import OUT_OF_MEMORY, RetisError
from retis_py.held_signals import ENDING

log = logging.getLogger(__name__)

_NICENESS = 10
_STANDARD = 3  # descriptors


class DecoderBugError(Exception):
    """The process that decodes failed in a way that it should not."""


class DecoderKilledError(Exception):
    """It ended without a word; the message says how."""


class DecoderProcess:
    """A child process that runs ``decode`` with its end of a channel.

    ``decode`` returns an exit code. ``descriptors`` are the files that it needs. ``written`` says
    how many events an error of it has left in the event file, ``pieces`` how many files a rotated
    output became. To be made while signals are held.
    Raises OSError where there is no process to be had.
    """

    def __init__(self, decode: Callable[[Channel], int], descriptors: Collection[int]) -> None:
        self.written = 0
        self.pieces = 0
        self.done = False
        self._channel, theirs = channel_pair()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        frozen = gc.get_freeze_count()  # when the command was imported, or before a fork
        gc.freeze()  # or the first collection in either process would copy all there is
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _run(decode, theirs, descriptors)
        except OSError:
            self._channel.close()
            raise
        finally:
            if not frozen:
                gc.unfreeze()
            theirs.close()

    @property
    def channel(self) -> Channel:
        """Our end."""
        return self._channel

    def receive(self, timeout: float | None) -> Message | None:
        """Return the next message, waiting ``timeout`` (s) at most; None where none came.

        Raises:
            RetisError: it cannot go on; the error is its own.
            DecoderBugError: it failed.
            DecoderKilledError: it has ended without a word.
        """
        message = self._channel.receive(timeout)
        if isinstance(message, Gone):
            raise DecoderKilledError(self._how_it_ended())
        if isinstance(message, Failed):
            self.written = message.written
            self._reap()
            raise _error(message)
        if isinstance(message, Done):
            self.done = True
            self.pieces = message.pieces
        return message

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def close(self) -> None:
        """Wait for its end; where it is not done, end it."""
        if not self.done:
            self.kill()
        self._reap()
        self._channel.close()

    def _how_it_ended(self) -> str:
        status = self._reap()
        if status is not None and os.WIFSIGNALED(status):
            return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
        return "ended without a word"

    def _reap(self) -> int | None:
        if not self._pid:
            return None
        pid, self._pid = self._pid, 0
        while True:
            try:
                return os.waitpid(pid, 0)[1]
            except ChildProcessError:
                return None


def _run(decode: Callable[[Channel], int], channel: Channel, descriptors: Collection[int]) -> None:
    """Be the child; never returns."""
    code = 1
    try:
        # It is told when to end by the other process, which these are meant for.
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        _close_others({*range(_STANDARD), channel.fileno(), *descriptors})
        # Once: those that a decoder starts in its turn have its own.
        niceness = max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
        code = decode(channel)
    except RetisError as error:
        channel.send(Failed(type(error).__name__, str(error)))
    except MemoryError:
        channel.send(Failed(RetisError.__name__, OUT_OF_MEMORY))
    except BaseException as error:
        log.debug("decoding", exc_info=error)
        channel.send(Failed("", f"{type(error).__name__}: {error}"))
    finally:
        with contextlib.suppress(BaseException):
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        os._exit(code)  # nothing here is ours to tidy up


def _close_others(kept: Collection[int]) -> None:
    for path in list(Path("/proc/self/fd").iterdir()):
        if int(path.name) not in kept:
            with contextlib.suppress(OSError):  # the one that listed them is closed by now
                os.close(int(path.name))


def _error(failed: Failed) -> Exception:
    found = getattr(errors, failed.error, None) if failed.error else None
    if isinstance(found, type) and issubclass(found, RetisError):
        return found(failed.message)
    return DecoderBugError(failed.message)
