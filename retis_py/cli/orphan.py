"""The process that decodes, when the one that collects has ended before it: killed, most likely.

It decodes what was captured, and ends. Nobody can tell it to, and it ignores the signals that are
meant for the other one; so where somebody who reads its output keeps it waiting, that has a limit.
"""

import logging
import os
import signal
import sys
from types import FrameType

from retis_py.cli.log import takes_more
from retis_py.cli.outputs import Outputs
from retis_py.cli.running import where_unread
from retis_py.collect.channel import Channel, Gone
from retis_py.collect.decoding import Decoding
from retis_py.collect.spool import Spool
from retis_py.kernel.libc import signal_when_parent_ends

log = logging.getLogger(__name__)

ENDED_EARLY = "the collecting process has ended early"

PATIENCE = 3.0
"""Seconds that a reader who takes nothing gets."""


def is_alone(channel: Channel) -> bool:
    """Whether the process at the other end is gone."""
    while (message := channel.receive(0)) is not None:
        if isinstance(message, Gone):
            return True
    return False


def bound_wait_when_alone(spool: Spool, decoding: Decoding, outputs: Outputs) -> None:
    """End this process if it is left alone and no output takes anything for ``PATIENCE``.

    It ends as if it was killed: what is in the file is safe, and the rest in the spool, if that has
    a name.
    """
    control = spool.control
    before = -1

    def look(_number: int, _frame: FrameType | None) -> None:
        nonlocal before
        if control.events == before and not outputs.takes_more:
            decoding.end_command()
            if sys.stderr is not None and takes_more(sys.stderr):
                where = where_unread(control, spool.path)
                log.error("%s, and nobody reads its output: %s", ENDED_EARLY, where)
            os._exit(1)
        before = control.events
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    # A signal is what a write that waits can be interrupted by.
    signal.signal(signal.SIGALRM, look)
    try:
        signal_when_parent_ends(signal.SIGALRM)
    except OSError as error:
        log.debug("the end of the collecting process is not told: %s", error.strerror)
