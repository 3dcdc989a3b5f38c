"""Moments in which no signal may come that ends the process: it waits until they are over."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_signals() -> Iterator[None]:
    """Have signals that end the process wait until the block is done.

    For what has to be noted as soon as it is made, or nobody would remove it. And for a fork:
    Python drops an exception, as of Ctrl-C, in what it calls then. A child begins with the signals
    held.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
