"""The spool, read: chunk by chunk, while it is written or when its collection has ended early."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from retis_py.collect.merge import DamagedChunkError, split
from retis_py.collect.spool_format import (
    CHUNK_ALIGNMENT,
    CHUNK_HEADER_SIZE,
    CHUNK_MARK,
    FIRST_CHUNK,
    PAGE,
    VERSION,
    Chunk,
    Control,
    Description,
    Kind,
)
from retis_py.errors import EventFileError
from retis_py.events.escape import escape
from retis_py.events.source import SPOOL_MAGIC

_SEARCHED_AT_ONCE = 1 << 20

# Descriptions are small; a size beyond this is damage.
_LARGEST = 256 << 20

_decode_description = msgspec.json.Decoder(Description).decode


class Placed(NamedTuple):
    """A chunk and where it is, in bytes: its header's begin, its content's end."""

    chunk: Chunk
    offset: int
    end: int


def chunk_at(descriptor: int, offset: int, limit: int) -> Placed | None:
    """Read the header at ``offset``; None where no whole chunk is before ``limit``."""
    if not FIRST_CHUNK <= offset < limit:
        return None
    chunk = Chunk.unpack(os.pread(descriptor, CHUNK_HEADER_SIZE, offset))
    if chunk is None or chunk.size > _LARGEST:
        return None
    end = offset + CHUNK_HEADER_SIZE + chunk.size
    return Placed(chunk, offset, end) if end <= limit else None


def content_of(descriptor: int, placed: Placed) -> bytes:
    """Read a chunk's content."""
    return os.pread(descriptor, placed.chunk.size, placed.offset + CHUNK_HEADER_SIZE)


def description_of(descriptor: int, placed: Placed) -> Description:
    """Read a description. Raises msgspec.DecodeError where it is none."""
    return _decode_description(content_of(descriptor, placed))


class OpenSpool:
    """The spool of a collection that has ended early, open for reading.

    Raises EventFileError for what cannot be opened, is no spool, or is in use. ``cut`` says where
    it ends in something that is no chunk, before the end that the collection noted; ``gaps`` what
    is no chunk between those that are, as offsets of begin and end.
    """

    def __init__(self, path: Path) -> None:
        self.name = escape(str(path))
        self.cut: int | None = None
        self.gaps: list[tuple[int, int]] = []
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise EventFileError(f"cannot read {self.name}: {error.strerror}") from None
        try:
            self._size = os.fstat(self.descriptor).st_size
            if self._size < PAGE:
                raise EventFileError(f"{self.name} is no spool of a collection, or is cut short")
            self.control = Control(self.descriptor, writable=False)
            self._check()
        except BaseException:
            os.close(self.descriptor)
            raise

    def descriptions(self) -> list[Description]:
        """Return all descriptions, the first one first.

        Raises:
            EventFileError: they are damaged, or there is none yet.
        """
        found: list[Description] = []
        at = self.control.last_description or FIRST_CHUNK
        while at:
            placed = chunk_at(self.descriptor, at, self._size)
            if placed is None or placed.chunk.kind is not Kind.DESCRIPTION:
                raise self._damaged(at)
            try:
                found.insert(0, description_of(self.descriptor, placed))
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self._damaged(at) from None
            if placed.chunk.time >= at:
                raise self._damaged(at)
            at = placed.chunk.time
        return found

    def chunks(self) -> Iterator[tuple[Placed, bytes]]:
        """Iterate over the chunks of records from the first one not decoded on."""
        self.gaps.clear()
        at = self.control.decoded.unread
        while at < max(self._size, self.control.committed):
            placed = chunk_at(self.descriptor, at, self._size)
            content = content_of(self.descriptor, placed) if placed else b""
            if placed is None or len(content) < placed.chunk.size:
                after = self._chunk_behind(at)
                if after is not None:
                    self.gaps.append((at, after))
                    at = after
                    continue
                # Behind the end that was noted there may be a chunk's begin.
                self.cut = at if at < self.control.committed else None
                return
            if placed.chunk.kind is Kind.RECORDS:
                yield placed, content
            at = placed.end

    def _chunk_behind(self, at: int) -> int | None:
        """Return where the next chunk begins behind something that is none, None without one.

        A packet may hold what looks like a chunk's header: only one that another chunk follows, or
        the noted end, is taken for one.
        """
        limit = min(self._size, self.control.committed)
        at += CHUNK_ALIGNMENT
        while at < limit:
            some = os.pread(self.descriptor, _SEARCHED_AT_ONCE, at)
            found = some.find(CHUNK_MARK)
            while found >= 0:
                if found % CHUNK_ALIGNMENT == 0 and self._is_chunk(at + found, limit):
                    return at + found
                found = some.find(CHUNK_MARK, found + 1)
            at += _SEARCHED_AT_ONCE
        return None

    def _is_chunk(self, at: int, limit: int) -> bool:
        placed = chunk_at(self.descriptor, at, limit)
        if placed is None:
            return False
        return placed.end == limit or chunk_at(self.descriptor, placed.end, limit) is not None

    def unread_records(self) -> int:
        """Count the records that were not decoded."""
        decoded = self.control.decoded
        count = 0
        for placed, content in self.chunks():
            if placed.offset >= decoded.parsed:
                count += placed.chunk.records
                continue
            try:
                count += sum(time >= decoded.before for time, _ in split(content))
            except DamagedChunkError:
                count += placed.chunk.records
        return count

    def close(self) -> None:
        """Close it; may be called again."""
        if self.descriptor >= 0:
            self.control.close()
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self) -> None:
        if self.control.magic != SPOOL_MAGIC:
            raise EventFileError(f"{self.name} is no spool of a collection")
        if self.control.version != VERSION:
            raise EventFileError(
                f"{self.name} is a spool of version {self.control.version}, and we read version"
                f" {VERSION}: use the retis that wrote it"
            )
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EventFileError(
                f"{self.name} is in use by a collection that still runs: wait for its end"
            ) from None

    def _damaged(self, offset: int) -> EventFileError:
        return EventFileError(
            f"{self.name} is damaged: what describes its events (byte {offset}) cannot be read"
        )
