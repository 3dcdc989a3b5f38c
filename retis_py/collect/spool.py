"""The spool, written: records go there as they lie in the ring, to be decoded by another process.

It is bounded. What was decoded is given back to the file system; where that cannot punch holes the
bound is for the whole file. What does not fit stays in the ring.
"""

import contextlib
import fcntl
import logging
import os
import tempfile
from pathlib import Path
from typing import Self

import msgspec

from retis_py.collect.ring import Batch, RecordSource
from retis_py.collect.spool_format import (
    CHUNK_HEADER_SIZE,
    FIRST_CHUNK,
    PAGE,
    Chunk,
    Control,
    Description,
    Kind,
)
from retis_py.collect.spool_reader import OpenSpool
from retis_py.errors import EventFileError, RetisError
from retis_py.events.escape import escape
from retis_py.private_files import create, resolve

log = logging.getLogger(__name__)

MOST_BY_DEFAULT = 1 << 30  # bytes
_SHARE_OF_FREE = 10  # one in so many bytes that the file system has left
_LEAST_LIMIT = 64 << 10  # bytes: more than the largest event
_LEAST_BESIDE = 1 << 20  # bytes; where there is less room than this the spool goes elsewhere

CHUNK_LIMIT = 1 << 20
"""Bytes of records in a chunk at most: the decoder holds some of them in memory."""


class NoRoomError(Exception):
    """The spool takes no more for now; the message says why."""


class Spool:
    """A spool open for writing; to be used in a ``with`` statement, which removes it.

    ``path`` is None for one without a name, which is gone with the processes. ``limit`` in bytes.
    It is locked (flock) as long as one of the processes lives.
    """

    def __init__(self, descriptor: int, path: Path | None, limit: int) -> None:
        self.descriptor = descriptor
        self.path = path
        self.limit = limit
        self.kept = False
        os.ftruncate(descriptor, PAGE)
        self.control = Control(descriptor)
        self.control.begin()
        self._end = FIRST_CHUNK

    @property
    def name(self) -> str:
        """Safe to show."""
        return "the spool" if self.path is None else f"the spool {escape(str(self.path))}"

    @property
    def waiting(self) -> int:
        """Bytes written and not given back."""
        return self._end - self.control.freed

    def describe(self, description: Description) -> None:
        """Add what is needed to decode what comes.

        Raises:
            NoRoomError: the file system is full.
        """
        content = msgspec.json.encode(description)
        content += b" " * (-len(content) % 8)
        at = self._end
        header = Chunk(Kind.DESCRIPTION, len(content), self.control.last_description).pack()
        if self._write(header, content) < CHUNK_HEADER_SIZE + len(content):
            raise NoRoomError("No space left on device")
        self._commit(CHUNK_HEADER_SIZE + len(content))
        self.control.last_description = at

    def take(self, source: RecordSource, ring: int, time: int) -> Batch:
        """Move records of a ring into the spool, a chunk at most; return what they were.

        The batch has no data any more.

        Raises:
            NoRoomError: not all of them fit; those that do were moved.
        """
        room = self.limit - self.waiting - CHUNK_HEADER_SIZE
        batch = source.peek(min(CHUNK_LIMIT, room))
        if batch.limited and not len(batch.data):
            raise NoRoomError("its limit is reached")
        if len(batch.data) or not batch.complete:  # an empty chunk says that there will be more
            self._put(source, batch, ring, time)
        return batch._replace(data=b"")

    def keep(self) -> None:
        """Leave the file there at the end."""
        self.kept = self.path is not None

    def close(self) -> None:
        """Close the spool, and remove it unless it is to be kept."""
        if self.descriptor < 0:
            return
        if self.path is not None and not self.kept:
            remove(self.path, self.descriptor)
        self.control.close()
        os.close(self.descriptor)
        self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, source: RecordSource, batch: Batch, ring: int, time: int) -> None:
        header = Chunk(
            Kind.RECORDS, len(batch.data), time, ring, batch.records, batch.complete
        ).pack()
        written = self._write(header, batch.data)
        if written < CHUNK_HEADER_SIZE + len(batch.data):
            # Those that fit are there already; their header has to be written anew.
            batch = source.peek(max(0, written - CHUNK_HEADER_SIZE))
            if not len(batch.data):
                raise NoRoomError("No space left on device")
            self._put(source, batch, ring, time)
            raise NoRoomError("No space left on device")
        size = len(batch.data)
        batch = batch._replace(data=b"")  # a view of the ring is not to outlive it
        self._commit(CHUNK_HEADER_SIZE + size)
        self.control.received += batch.records
        # Only now: what is no longer in the ring is in the spool for good.
        if size:
            source.advance(size)

    def _write(self, header: bytes, content: memoryview | bytes) -> int:
        try:
            return os.pwritev(self.descriptor, [header, content], self._end)
        except OSError as error:
            raise NoRoomError(error.strerror or str(error)) from None

    def _commit(self, size: int) -> None:
        self._end += size
        self.control.committed = self._end


def create_spool(output: Path | None, limit: int | None) -> Spool:
    """Create the spool of a collection whose events go to ``output``, ``limit`` bytes at most.

    It is ``OUTPUT.spool`` with mode 0600, or where nothing can be beside the output, or hardly
    anything, a temporary file without a name. None as limit is the smaller of 1 GiB and a tenth of
    what is free.

    Raises:
        RetisError: a spool of that name is there, of a collection that runs or ended early.
    """
    if output is not None and (not output.exists() or output.is_file()):
        path = output.with_name(output.name + ".spool")
        free = _free(path.parent)
        if limit is not None or free // _SHARE_OF_FREE >= _LEAST_BESIDE:
            descriptor = _create(path)
            if descriptor is not None:
                return Spool(descriptor, path, _limit(limit, free))
    try:
        with tempfile.TemporaryFile(prefix="retis-", suffix=".spool") as file:
            descriptor = os.dup(file.fileno())
    except OSError as error:
        raise RetisError(
            f"cannot create a temporary file for events ({error.strerror}): TMPDIR names a folder"
        ) from None
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Spool(descriptor, None, _limit(limit, _free(Path(tempfile.gettempdir()))))


def remove(path: Path, descriptor: int) -> None:
    """Remove a spool if it is still the file of that name."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.lstat(), os.fstat(descriptor)):
            path.unlink()


def _limit(asked: int | None, free: int) -> int:
    limit = min(MOST_BY_DEFAULT, free // _SHARE_OF_FREE) if asked is None else asked
    return max(limit, _LEAST_LIMIT)


def _free(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _create(path: Path) -> int | None:
    """Create a spool beside the output; None where that is not possible."""
    for _ in range(2):
        try:
            descriptor = create(path, os.O_RDWR)
        except FileExistsError:
            _clear_away(path)
        except OSError as error:
            log.debug("no spool at %s: %s", path, error.strerror)
            return None
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    return None


def _clear_away(path: Path) -> None:
    """Remove a spool that has nothing in it any more. Raises RetisError for one that has."""
    name = escape(str(path))
    try:
        resolve(path)  # not one that others have left for us
    except OSError as error:
        raise RetisError(f"cannot create the spool {name}: {error.strerror}") from None
    try:
        with OpenSpool(path) as left:
            records = left.unread_records()
            if records == 0:
                remove(path, left.descriptor)
                return
    except EventFileError as error:
        raise RetisError(f"{error}; move it away, or give another name with -o") from None
    raise RetisError(
        f"{name} holds {records:,} event(s) of a collection that ended early: read them with"
        f" 'retis print {name}', then remove it, or give another name with -o"
    )
