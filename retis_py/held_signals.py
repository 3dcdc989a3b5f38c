"""Moments in which no signal may come that ends the process: it waits until they are over."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_signals(numbers: Iterable[signal.Signals] = ENDING) -> Iterator[None]:
    """Have signals wait until the block is done.

    For what has to be noted as soon as it is made, or nobody would remove it. And for a fork:
    Python drops an exception, as of Ctrl-C, in what it calls then. A child begins with the signals
    held.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
