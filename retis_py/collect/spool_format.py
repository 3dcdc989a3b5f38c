"""The spool: a file in which records wait to be decoded. What is where in it.

::

    page 0      Control: who is how far, shared by the processes through mmap
    then        chunks, one behind the other: a header, then its content

A chunk holds records of one ring as they lay there, or a ``Description`` as JSON: the first chunk,
and later ones for what was attached while the collection ran. Descriptions are a chain from the
last one back, which stays when records that were decoded are given back to the file system.
"""

import mmap
import struct
from enum import IntEnum
from typing import NamedTuple, Self

import msgspec

from retis_py.events.source import SPOOL_MAGIC

PAGE = mmap.PAGESIZE
FIRST_CHUNK = PAGE
VERSION = 1


class Kind(IntEnum):
    """What a chunk holds."""

    DESCRIPTION = 1
    RECORDS = 2


_CHUNK = struct.Struct("=IBBHQQQII")
_MARK = 0x4B4E4843  # "CHNK"
CHUNK_MARK = struct.pack("=I", _MARK)
CHUNK_ALIGNMENT = 8
CHUNK_HEADER_SIZE = _CHUNK.size
_COMPLETE = 1


class Chunk(NamedTuple):
    """A chunk's header.

    ``size`` is the content's, a multiple of 8. Of records: ``ring`` says which one they are of,
    ``time`` (ns, CLOCK_MONOTONIC) when that round over all rings began, ``complete`` that these
    were all there were then. Of a description: ``time`` is where the one before it is, 0 for none.
    """

    kind: Kind
    size: int
    time: int = 0
    ring: int = 0
    records: int = 0
    complete: bool = False

    def pack(self) -> bytes:
        """Return the header."""
        flags = _COMPLETE if self.complete else 0
        return _CHUNK.pack(
            _MARK, self.kind, flags, self.ring, self.size, self.time, 0, self.records, 0
        )

    @classmethod
    def unpack(cls, data: bytes) -> Self | None:
        """Read a header; None where there is none."""
        if len(data) < _CHUNK.size:
            return None
        mark, kind, flags, ring, size, time, _, records, _ = _CHUNK.unpack_from(data)
        if mark != _MARK or kind not in set(Kind) or size % CHUNK_ALIGNMENT:
            return None
        return cls(Kind(kind), size, time, ring, records, bool(flags & _COMPLETE))


class Decoded(NamedTuple):
    """How far decoding is: which records were handed on, to where they are safe.

    Those in chunks before ``unread`` were, and of the chunks from there up to ``parsed`` those
    with a time (ns) before ``before``.
    """

    unread: int
    parsed: int
    before: int


class Control:
    """Page 0: unsigned 64-bit numbers, each written by one process only."""

    def __init__(self, descriptor: int, *, writable: bool = True) -> None:
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._page = mmap.mmap(descriptor, PAGE, mmap.MAP_SHARED, access)
        self._words = memoryview(self._page).cast("Q")

    def begin(self) -> None:
        """Make this an empty spool's."""
        self.committed = FIRST_CHUNK
        self.set_decoded(Decoded(FIRST_CHUNK, FIRST_CHUNK, 0))
        self._words[1] = VERSION
        self._words[0] = int.from_bytes(SPOOL_MAGIC, "little")

    @property
    def magic(self) -> bytes:
        """``SPOOL_MAGIC`` in a spool."""
        return self._words[0].to_bytes(8, "little")

    @property
    def version(self) -> int:
        """``VERSION`` of the format."""
        return self._words[1]

    @property
    def committed(self) -> int:
        """Where the last whole chunk ends, in bytes from the file's begin."""
        return self._words[2]

    @committed.setter
    def committed(self, offset: int) -> None:
        self._words[2] = offset

    @property
    def clear_until(self) -> int:
        """All records with a time (ns) before this one are committed."""
        return self._words[3]

    @clear_until.setter
    def clear_until(self, time: int) -> None:
        self._words[3] = time

    @property
    def received(self) -> int:
        """Records written to the spool."""
        return self._words[4]

    @received.setter
    def received(self, count: int) -> None:
        self._words[4] = count

    @property
    def finished(self) -> bool:
        """Whether no more chunks come."""
        return bool(self._words[5])

    @finished.setter
    def finished(self, finished: bool) -> None:
        self._words[5] = int(finished)

    @property
    def last_description(self) -> int:
        """Where the last description is, 0 for none."""
        return self._words[6]

    @last_description.setter
    def last_description(self, offset: int) -> None:
        self._words[6] = offset

    @property
    def blocked(self) -> bool:
        """Whether there is more in the rings and no room for it."""
        return bool(self._words[7])

    @blocked.setter
    def blocked(self, blocked: bool) -> None:
        self._words[7] = int(blocked)

    @property
    def events(self) -> int:
        """Events handed on by the decoder; written by it, as all that follows."""
        return self._words[16]

    @events.setter
    def events(self, count: int) -> None:
        self._words[16] = count

    @property
    def freed(self) -> int:
        """Bytes given back to the file system."""
        return self._words[17]

    @freed.setter
    def freed(self, size: int) -> None:
        self._words[17] = size

    @property
    def decoded(self) -> Decoded:
        """How far decoding is."""
        at = self._place(self._words[18])
        return Decoded(*self._words[at : at + 3])

    def set_decoded(self, decoded: Decoded) -> None:
        """Say how far decoding is, at once or not at all."""
        turn = self._words[18] + 1
        at = self._place(turn)
        for offset, value in enumerate(decoded):
            self._words[at + offset] = value
        self._words[18] = turn

    def keep_from_children(self) -> None:
        """Let processes that are forked from now on not have it: it would keep the spool locked."""
        self._page.madvise(mmap.MADV_DONTFORK)

    def close(self) -> None:
        """Unmap the page."""
        self._words.release()
        self._page.close()

    @staticmethod
    def _place(turn: int) -> int:
        return 20 + 4 * (turn % 2)


class DescribedProbe(msgspec.Struct, frozen=True):
    """A probe as far as events tell it; ``key`` is its number, or a function's address.

    ``path`` is the program's of a USDT probe.
    """

    type: str
    symbol: str
    key: int
    path: str | None = None


class DescribedCollectors(msgspec.Struct, frozen=True):
    """The collectors, by name, and what their parts depend on.

    ``parts`` are the names of the parts' wire structs, with the members; ``types`` what BTF
    answered (recorded_types.py).
    """

    names: list[str]
    skb_sections: list[str]
    ovs_track: bool
    parts: list[tuple[str, str]]
    types: dict[str, dict[str, int] | None]


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is needed to decode records. Later ones of a spool add probes and programs only.

    ``startup`` is the startup event; ``boot_id`` that of the kernel whose addresses are in the
    records; ``hidden`` are probes whose stacks nobody asked for; ``programs`` the paths of
    processes' programs by process id; ``symbols`` are those of our own programs (own_symbols.py).
    """

    probes: list[DescribedProbe] = []
    symbols: list[tuple[int, int, str]] = []
    programs: dict[int, str] = {}
    startup: msgspec.Raw = msgspec.Raw()
    boot_id: str = ""
    rings: int = 0
    hidden: list[str] | None = None
    collectors: DescribedCollectors | None = None
