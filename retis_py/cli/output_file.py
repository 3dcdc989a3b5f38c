"""Files that commands write: they take their name when they are whole, and never eat the input."""

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from retis_py.errors import RetisError, UsageError
from retis_py.events.escape import escape
from retis_py.private_files import create, open_for_writing, resolve

_BUFFER_SIZE = 256 << 10


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that becomes ``path`` at the end of the block.

    Until then, and for good if the block fails, what is there stays as it is. A link is followed
    where that is safe (retis_py/private_files.py); a file's mode and owner are kept, a new one is
    this user's alone. A FIFO or device is written to at once.

    Raises:
        RetisError: the file cannot be created or written.
    """
    try:
        target = resolve(path)
        if target.status is None or stat.S_ISREG(target.status.st_mode):
            with _replacing_regular(target.path, target.status) as file:
                yield file
        else:
            with os.fdopen(open_for_writing(path), "wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RetisError(f"cannot write {escape(str(path))}: {reason}") from None


def refuse_same_file(source: Path, target: Path) -> None:
    """Raise UsageError if both are one file, under whatever names; ``-`` is the standard input."""
    try:
        if str(source) == "-":
            reads = os.fstat(sys.stdin.fileno()) if sys.stdin is not None else None
        else:
            reads = source.stat()
        same = (
            reads is not None
            and stat.S_ISREG(reads.st_mode)
            and os.path.samestat(reads, target.stat())
        )
    except (OSError, ValueError):  # whoever opens it says why
        return
    if same:
        message = f"{escape(str(target))} is the input itself: give another name with -o"
        raise UsageError(message)


def binary_stdout(what: str) -> BinaryIO:
    """Return the standard output for binary data; ``what`` names them in errors.

    Raises:
        RetisError: it is closed.
        UsageError: it is a terminal.
    """
    if sys.stdout is None:
        raise RetisError(f"the standard output is closed: open it, or write {what} with -o FILE")
    if sys.stdout.isatty():
        message = (
            f"{what} would garble the terminal: use -o FILE, or pipe it, as into 'tshark -r -'"
        )
        raise UsageError(message)
    return sys.stdout.buffer


@contextmanager
def _replacing_regular(target: Path, old: os.stat_result | None) -> Iterator[BinaryIO]:
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(0, "it may not be written")
    partial = target.with_name(f".retis-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with os.fdopen(create(partial), "wb", buffering=_BUFFER_SIZE) as file:
            if old is not None:
                with contextlib.suppress(OSError):  # not ours: then it becomes ours
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            yield file
        partial.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
