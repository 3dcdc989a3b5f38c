"""Kernel addresses to ``symbol+0xoffset``, for stack traces."""

import fcntl
import logging
import os
import sys
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from retis_py.kernel.kallsyms import TEXT_TYPES

log = logging.getLogger(__name__)

# The largest functions are some 40 KiB, BPF programs seldom more. An address further behind the
# last symbol before it is in a gap: between two segments, or in code loaded later.
_MAX_SIZE = 256 * 1024

# Ends of segments rather than functions; also kept from naming the function that starts there.
_MARKERS = frozenset({"_text", "_stext", "_etext", "_sinittext", "_einittext"})

# Seconds between two readings of kallsyms; grows to the second figure while they bring nothing.
_MIN_INTERVAL, _MAX_INTERVAL = 1.0, 64.0

# Stacks hold few different addresses; this bounds what a hostile load could make us keep.
_MAX_CACHED = 32768

_CHUNK = 1 << 18

# Absolute symbols, and every one where addresses are hidden, lie in the page of NULL.
_LOWEST = 1 << 16

_address_of_line = itemgetter(slice(0, 16))
_name_of_line = itemgetter(slice(19, None))


class SymbolTable:
    """All text symbols in the order of their addresses, read when first asked.

    Names stand in one block of bytes and addresses in an array, which takes a third of the
    memory of a list of objects (5 MB for 120,000 symbols). Symbols of modules and BPF programs
    are included as /proc/kallsyms lists them, without ``[module]``.

    Of several symbols at one address the first in /proc/kallsyms is taken, which is the
    kernel's own choice for its stack traces (scripts/kallsyms.c, ``compare_symbols``: weak ones
    last, then those with fewer leading underscores first).
    """

    def __init__(self, path: Path = Path("/proc/kallsyms")) -> None:
        self._path = path
        self._block = _Block()
        self._loaded_at = float("-inf")
        self._interval = _MIN_INTERVAL
        self._texts: dict[int, str] = {}
        self._warned = False
        self._opened: _Opened | None = None

    def open(self) -> tuple[int, ...]:
        """Open the file, so that it can be read when privileges were given up.

        The kernel looks at CAP_SYSLOG then, and not later (kernel/kallsyms.c, kallsyms_open).
        Processes forked from this one need the descriptors that are returned.
        """
        with suppress(OSError):  # reading it says why
            self._opened = _Opened(self._path)
        return self._opened.descriptors if self._opened else ()

    def close(self) -> None:
        """Close what was opened; the file is then opened again when it is to be read."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def resolve(self, address: int) -> str:
        """Return ``symbol+0xoffset``, or ``0xaddress`` where no symbol covers the address.

        Code may be loaded at any time: an address that is unknown, or that is new to us and falls
        to a module or BPF program, has the table read again if it is over a second old. Where
        the kernel hides addresses (kernel.kptr_restrict) nothing is resolved.
        """
        text = self._texts.get(address)
        if text is None:
            text, settled = self._lookup(address)
            if not settled and time.monotonic() - self._loaded_at >= self._interval:
                text = self._refreshed(address)
            if text is None:
                return f"{address:#x}"
            if len(self._texts) >= _MAX_CACHED:
                self._texts.clear()
            self._texts[address] = text
        return text

    def __len__(self) -> int:
        return len(self._block.addresses)

    def _refreshed(self, address: int) -> str | None:
        self._load()
        text, _ = self._lookup(address)
        # Addresses that never resolve must not keep us reading.
        self._interval = min(self._interval * 2, _MAX_INTERVAL) if text is None else _MIN_INTERVAL
        return text

    def _lookup(self, address: int) -> tuple[str | None, bool]:
        """Return the text, and whether it is the kernel's own code, which stays where it is."""
        addresses = self._block.addresses
        at = bisect_right(addresses, address) - 1
        if at < 0 or address - addresses[at] >= _MAX_SIZE:
            return None, False
        start = addresses[at]
        for alias in range(bisect_left(addresses, start, 0, at), at + 1):
            name, _, module = self._block.name(alias).partition("\t")
            if name not in _MARKERS:
                return f"{name}+{address - start:#x}", not module
        return None, False

    def _load(self) -> None:
        started = time.monotonic()
        self._loaded_at = started
        core, modules = _Block(), list[bytes]()
        try:
            with self._opened or self._path.open("rb", buffering=0) as file:
                for lines in _text_lines(file):
                    core.extend([line for line in lines if line[-1:] != b"]"])
                    modules += [line for line in lines if line[-1:] == b"]"]
        except OSError as error:
            self._warn(f"{self._path}: {error.strerror}")
            return
        # The kernel's own come sorted (it searches them itself), generated code and modules in
        # the order of their loading, below or above the kernel. Sorting is stable: aliases stay
        # in the kernel's order.
        modules.sort(key=_address_of_line)
        del modules[: bisect_left(modules, b"%016x" % _LOWEST)]
        core.drop_below(_LOWEST)
        first = core.addresses[0] if core.addresses else 0
        above = bisect_left(modules, b"%016x" % first)
        block = _Block()
        block.extend(modules[:above])
        block.join(core)
        block.extend(modules[above:])
        self._block = block
        # What is known stays known, or each address in a module would have the table read again.
        found = ((address, self._lookup(address)[0]) for address in self._texts)
        self._texts = {address: text for address, text in found if text is not None}
        if not core.addresses:
            self._warn(f"{self._path} hides them (sysctl kernel.kptr_restrict)")
        log.debug("%d symbols in %.0f ms", len(self), 1e3 * (time.monotonic() - started))

    def _warn(self, reason: str) -> None:
        if not self._warned:
            log.warning("stack addresses stay unresolved: %s", reason)
        self._warned = True


class _Block:
    """Symbols in order: addresses, and names end to end with where each begins (and the end)."""

    __slots__ = ("addresses", "names", "offsets")

    def __init__(self) -> None:
        self.addresses: array[int] = array("Q")
        self.names = bytearray()
        self.offsets: array[int] = array("I", [0])

    def extend(self, lines: list[bytes]) -> None:
        addresses = array("Q", bytes.fromhex(b"".join(map(_address_of_line, lines)).decode()))
        if sys.byteorder == "little":
            addresses.byteswap()
        names = list(map(_name_of_line, lines))
        self.addresses += addresses
        self.names += b"".join(names)
        self.offsets.extend(accumulate(map(len, names), initial=self.offsets.pop()))

    def join(self, other: "_Block") -> None:
        if not self.addresses:
            self.addresses, self.names, self.offsets = other.addresses, other.names, other.offsets
            return
        base = self.offsets.pop()
        self.addresses += other.addresses
        self.names += other.names
        self.offsets.extend(base + offset for offset in other.offsets)

    def drop_below(self, address: int) -> None:
        count = bisect_left(self.addresses, address)
        cut = self.offsets[count]
        del self.addresses[:count], self.offsets[:count], self.names[:cut]
        if cut:
            self.offsets = array("I", [offset - cut for offset in self.offsets])

    def name(self, index: int) -> str:
        name = self.names[self.offsets[index] : self.offsets[index + 1]]
        return name.decode("ascii", "replace")


class _Opened:
    """A file that stays open, read from its start in each ``with`` block.

    Forked processes share its position: they take turns, by a lock that is each process's own.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._lock = os.memfd_create("retis-symbols")
        self.descriptors = (self._file.fileno(), self._lock)

    def close(self) -> None:
        self._file.close()
        os.close(self._lock)

    def __enter__(self) -> BinaryIO:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        self._file.seek(0)
        return self._file

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._lock, fcntl.LOCK_UN)


def _text_lines(file: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the lines of text symbols, some thousands at a time: all at once take 40 MB."""
    rest = b""
    while chunk := file.read(_CHUNK):
        whole, _, rest = (rest + chunk).rpartition(b"\n")
        yield _only_text(whole)
    yield _only_text(rest)


def _only_text(data: bytes) -> list[bytes]:
    # `$x` and `.L…` are the assembler's, on some architectures.
    return [line for line in data.splitlines() if line[17] in TEXT_TYPES and line[19] not in b"$."]
