"""Log messages for people: ``HH:MM:SS [INFO] text`` on standard error.

Messages may hold names that come from packets, files and other processes, so everything that
a terminal could act on is escaped here, whatever the caller did. While packets are captured none
waits for whoever reads them.
"""

import logging
import os
import select
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TextIO

from retis_py.events.escape import escape

TRACE = 5
"""Level number below ``logging.DEBUG``; use as ``logger.log(TRACE, …)``, or plain ``5``."""


class LogLevel(StrEnum):
    """Values of ``--log-level``, from the fewest messages to the most."""

    ERROR = "error"
    WARN = "warn"
    INFO = "info"
    DEBUG = "debug"
    TRACE = "trace"

    @property
    def number(self) -> int:
        """The level of the standard library's ``logging``."""
        return _NUMBERS[self]


_NUMBERS = {
    LogLevel.ERROR: logging.ERROR,
    LogLevel.WARN: logging.WARNING,
    LogLevel.INFO: logging.INFO,
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.TRACE: TRACE,
}

_RED, _YELLOW, _GREEN, _BLUE, _CYAN = "31", "33", "32", "34", "36"

# Lowest number of each label; the first that a record reaches is its own.
_LABELS = (
    (logging.ERROR, "ERROR", _RED),
    (logging.WARNING, "WARN", _YELLOW),
    (logging.INFO, "INFO", _GREEN),
    (logging.DEBUG, "DEBUG", _BLUE),
    (0, "TRACE", _CYAN),
)


def set_up_logging(level: LogLevel) -> None:
    """Send the package's messages of ``level`` and above to standard error.

    Calling it again changes the level and adds no second handler.
    """
    logger = logging.getLogger("retis_py")
    logger.handlers = [h for h in logger.handlers if not isinstance(h, _StderrHandler)]
    logger.addHandler(_StderrHandler())
    logger.setLevel(level.number)


class _StderrHandler(logging.Handler):
    """Looks standard error up at each message, so that redirecting it works."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr
        if stream is None:  # the caller closed it
            return
        _held.append(_format(record, coloured=wants_colour(stream)) + "\n")
        _write_held(stream)


# Messages that are not written yet; the oldest ones go where there are too many.
_held: deque[str] = deque()
_MOST_HELD = 1000
_waits = True


@contextmanager
def messages_that_wait() -> Iterator[None]:
    """Hold messages back that nobody takes at once, until the end of the block.

    A pipe may be full, a terminal stopped (Ctrl-S): those who drain the kernel's buffers must not
    wait for that.
    """
    global _waits  # noqa: PLW0603 (there is one standard error)
    _waits = False
    try:
        yield
    finally:
        _waits = True
        if sys.stderr is not None:
            _write_held(sys.stderr)


def takes_more(stream: TextIO) -> bool:
    """Whether some more text can be written without a wait."""
    try:
        poll = select.poll()
        poll.register(stream, select.POLLOUT)
        return bool(poll.poll(0))
    except (OSError, ValueError):  # a stream in memory has no descriptor
        return True


def _write_held(stream: TextIO) -> None:
    try:
        while _held and (_waits or takes_more(stream)):
            stream.write(_held[0])
            stream.flush()
            _held.popleft()
    except (OSError, ValueError):
        # Standard error is closed or its reader gone: a message must not end a capture.
        _held.clear()
    while len(_held) > _MOST_HELD:
        _held.popleft()


def wants_colour(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal whose user did not opt out (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and stream.isatty()


def _format(record: logging.LogRecord, *, coloured: bool) -> str:
    label, colour = next((n, c) for number, n, c in _LABELS if record.levelno >= number)
    clock = time.strftime("%H:%M:%S", time.localtime(record.created))
    if coloured:
        label = f"\x1b[{colour}m{label}\x1b[0m"
    line = f"{clock} [{label}] {escape(record.getMessage())}"
    if record.exc_info:
        line += "\n" + format_traceback(record.exc_info[1])
    return line


def format_traceback(error: BaseException | None) -> str:
    """Return the traceback of ``error``, its lines escaped one by one."""
    if error is None:
        return ""
    import traceback  # noqa: PLC0415 (only when something is wrong)

    text = "".join(traceback.format_exception(error)).rstrip("\n")
    return "\n".join(escape(line) for line in text.split("\n"))
