"""The bytes of an event file, in pieces of whole lines."""

import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Protocol

from retis_py.errors import EventFileError
from retis_py.events.escape import escape

STANDARD_INPUT = Path("-")

# A series of ten thousand events is about 10 MiB. More than this on a line is no event file, and
# reading on would end in a lack of memory.
MAX_LINE = 256 << 20
# What a core's own cache holds beside what is made of it.
PIECE_SIZE = 64 << 10


SPOOL_MAGIC = b"RETSPOOL"
"""What the spool of a collection begins with, which is left where one ended early."""


class Stream(Protocol):
    """Bytes to be read once."""

    def read(self, size: int, /) -> bytes | None:
        """Return some bytes, nothing at the end; None: there may be some later."""

    def fileno(self) -> int:
        """Return a descriptor."""

    def close(self) -> None:
        """Close it."""


converters: dict[bytes, Callable[[Path], Stream]] = {}
"""Who makes an event file of other files as they are read, by what these begin with.

The command line adds itself: what it needs for that is more than events know of.
"""


class Span(NamedTuple):
    """Place of a piece in a regular file, in bytes."""

    offset: int
    size: int


def begins_with_spool(file: FileIO) -> bool:
    """Whether a file is the spool of a collection; not asked of what can be read only once."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return False
    try:
        return os.pread(file.fileno(), len(SPOOL_MAGIC), 0) == SPOOL_MAGIC
    except OSError:  # whoever reads it says why
        return False


class Source:
    """A file, FIFO or the standard input (``-``), open for reading once from start to end.

    Raises EventFileError for what cannot be opened or read.
    """

    name: str  # safe to show
    size: int | None  # bytes, of a regular file when it was opened
    position: int  # bytes handed out so far
    piece_size: int  # bytes, about, of those that pieces() will hand out

    def __init__(self, path: Path) -> None:
        self.name = "the standard input" if path == STANDARD_INPUT else escape(str(path))
        self.position = 0
        self.piece_size = PIECE_SIZE
        self._file = self._open(path)
        status = os.fstat(self._file.fileno())
        is_plain = stat.S_ISREG(status.st_mode) and isinstance(self._file, FileIO)
        self.size = status.st_size if is_plain else None

    def pieces(self, size: int | None = None) -> Iterator[bytes]:
        """Iterate over the content. Each piece is whole lines, but for the end of the last.

        What a pipe holds is handed out at once, however little it is.
        """
        begun: list[bytes] = []  # parts of a line whose end was not seen yet
        length = 0  # of them
        while part := self._read(size or self.piece_size):
            end = part.rfind(b"\n") + 1
            if end == 0:
                begun.append(part)
                length += len(part)
                if length > MAX_LINE:
                    raise self._endless(self.position)
                continue
            piece = b"".join((*begun, memoryview(part)[:end]))
            begun = [part[end:]] if end < len(part) else []
            length = len(part) - end
            self.position += len(piece)
            yield piece
        if begun:
            piece = b"".join(begun)
            self.position += len(piece)
            yield piece

    def spans(self, size: int) -> Iterator[Span]:
        """Iterate over places of pieces of about ``size`` bytes, for ``read_span``.

        Only for a regular file. The last piece may end in a line without newline.
        """
        assert self.size is not None  # noqa: S101 (asked for by the caller)
        offset = 0
        while offset < self.size:
            end = self._line_end(offset + size)
            if end - offset > MAX_LINE:  # alone, so that what is before it is read
                start = offset + self._pread(size, offset).rfind(b"\n") + 1
                if start > offset:
                    yield Span(offset, start - offset)
                offset = start
            yield Span(offset, end - offset)
            offset = end

    def read_span(self, span: Span) -> bytes:
        """Read a piece; may be called in a child process."""
        if span.size > MAX_LINE:
            raise self._endless(span.offset)
        parts = []
        offset, left = span
        while left and (part := self._pread(left, offset)):
            parts.append(part)
            offset += len(part)
            left -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file; may be called again."""
        self._file.close()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._file.fileno()

    def _line_end(self, offset: int) -> int:
        """Find the end of the line that ``offset`` lies in; of an endless one not the very end."""
        assert self.size is not None  # noqa: S101 (asked for by the caller)
        begin = offset
        while offset < self.size and offset - begin <= MAX_LINE:
            part = self._pread(64 << 10, offset)
            found = part.find(b"\n")
            if found >= 0:
                return offset + found + 1
            if not part:
                break
            offset += len(part)
        return min(offset, self.size)

    def _open(self, path: Path) -> Stream:
        if path == STANDARD_INPUT:
            if sys.stdin is None:
                raise EventFileError("the standard input is closed; name an event file")
            return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
        try:
            file = path.open("rb", buffering=0)
            if not begins_with_spool(file):
                return file
            file.close()
        except FileNotFoundError:
            rotated = path.with_name(path.name + ".0")
            advice = "collect events into it first"
            if rotated.exists():
                advice = f"did you mean {escape(str(rotated))}.. ?"
            message = f"cannot read {self.name}: no such file; {advice}"
            raise EventFileError(message) from None
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        if SPOOL_MAGIC not in converters:
            raise EventFileError(
                f"{self.name} is the spool of a collection that ended early:"
                " 'retis print -o' makes an event file of it"
            )
        return converters[SPOOL_MAGIC](path)

    def _read(self, size: int) -> bytes:
        try:
            while (part := self._file.read(size)) is None:  # a pipe that another made not to wait
                select.select([self._file], [], [])
        except OSError as error:
            raise self._unreadable(error) from None
        return part

    def _pread(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), size, offset)
        except OSError as error:
            raise self._unreadable(error) from None

    def _endless(self, offset: int) -> EventFileError:
        advice = f"; 'head -c {offset}' keeps what is before it" if offset else ""
        return EventFileError(
            f"{self.name}: the line at byte {offset} is longer than {MAX_LINE >> 20} MiB; this is"
            f" no event file, or was damaged{advice}"
        )

    def _unreadable(self, error: OSError | ValueError) -> EventFileError:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return EventFileError(f"cannot read {self.name}: {reason}")
