"""Text for people on the standard output: through a pager on a terminal, and in colour there."""

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from retis_py.cli.log import wants_colour
from retis_py.errors import RetisError

if TYPE_CHECKING:
    import subprocess

Write = Callable[[bytes], None]

# Ends by itself where the text fits (F), passes colours on (R), leaves the text there (X).
_LESS = "FRX"
_PAGER = f"less -{_LESS}"


class NobodyReadsError(Exception):
    """Whoever read the output has enough (``| head``, a pager that was left)."""


def coloured() -> bool:
    """Whether the standard output takes colours: a terminal, and NO_COLOR is not set."""
    return sys.stdout is not None and wants_colour(sys.stdout)


def goes_to_file() -> bool:
    """Whether the standard output is a file, so that nobody sees anything happen."""
    try:
        return sys.stdout is not None and stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):  # a stream in memory has no descriptor
        return False


@contextmanager
def text_output() -> Iterator[Write]:
    """Give a function that writes text in UTF-8; on a terminal it goes through a pager.

    The pager is $PAGER, else less where it is installed; none where NOPAGER is set or PAGER is
    empty. The block ends silently when nobody reads any more.

    Raises RetisError where the standard output is closed or cannot be written.
    """
    if sys.stdout is None:
        raise RetisError("the standard output is closed; open it to print events")
    sys.stdout.flush()
    pager = _start_pager()
    stream: Any = sys.stdout.buffer if pager is None else pager.stdin
    try:
        with contextlib.suppress(NobodyReadsError):
            try:
                yield lambda text: _write(stream, text)
            finally:
                _write(stream, b"", flush=True)
    finally:
        if pager is not None:
            with contextlib.suppress(OSError):
                stream.close()
            _wait(pager)


def _write(stream: BinaryIO, text: bytes, *, flush: bool = False) -> None:
    try:
        stream.write(text)
        if flush:
            stream.flush()
    except BrokenPipeError:
        _forget(stream)
        raise NobodyReadsError from None
    except OSError as error:
        _forget(stream)
        message = f"cannot write the events as text: {error.strerror or error}"
        raise RetisError(message) from None


def _forget(stream: BinaryIO) -> None:
    """Drop what the stream still holds, since its flush at exit would fail once more."""
    with contextlib.suppress(OSError, ValueError):  # a stream in memory has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


def _start_pager() -> "subprocess.Popen[bytes] | None":
    if not sys.stdout.isatty() or "NOPAGER" in os.environ:
        return None
    import shlex  # noqa: PLC0415 (for terminals only)
    import subprocess  # noqa: PLC0415

    try:
        command = shlex.split(os.environ.get("PAGER", _PAGER))
        if not command or shutil.which(command[0]) is None:
            return None
        # For those who say no more than PAGER=less, as git does: it would show colours as ESC[1m.
        environment = {"LESS": _LESS, **os.environ}
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    except (OSError, ValueError):
        return None


def _wait(pager: "subprocess.Popen[bytes]") -> None:
    """Wait until the pager is left: Ctrl-C is its own business."""
    while True:
        try:
            pager.wait()
        except KeyboardInterrupt:
            continue
        return
