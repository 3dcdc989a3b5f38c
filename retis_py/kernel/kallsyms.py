"""Kernel symbols by name, found by searching the bytes of /proc/kallsyms.

A line is ``ADDRESS TYPE NAME`` and, for a symbol of a module, a tab and ``[MODULE]``: 16
hexadecimal digits, one letter, no other blanks (kernel/kallsyms.c, ``s_show``). Reading the
file takes the kernel about 55 ms for 120,000 symbols; making a Python object of each line would
take more than that again, and only a few names are ever asked for. Addresses to names, for
stacks, is :mod:`retis_py.kernel.symbols`.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from retis_py.errors import MissingPrerequisite

log = logging.getLogger(__name__)

# Global, weak and local text. What a collector attaches to or a stack shows is always text.
TEXT_TYPES = b"TWtw"

# "Modules" that the kernel invents for generated code: nothing to attach to in there.
_GENERATED = frozenset({"bpf", "__builtin__ftrace", "__builtin__kprobes", "__builtin__kprobe"})

# Padding before each function with CONFIG_FUNCTION_PADDING and CFI's type hashes: named like
# functions, yet none.
_NOT_FUNCTIONS = (b"__pfx_", b"__cfi_")

# From this many names on, one pass over all lines (25 ms) is cheaper than a search each (5 ms).
_ONE_PASS = 6


_ANY_ADDRESS = re.compile(rb"^(?!0{16})[0-9a-f]{16} ", re.MULTILINE)
_FIRST_LINES = 1 << 16  # bytes


class Symbol(NamedTuple):
    """One line of /proc/kallsyms; ``module`` is None for the kernel itself."""

    name: str
    address: int
    type: str
    module: str | None


class KallSyms:
    """The text symbols of the running kernel, read once when first asked."""

    def __init__(self, path: Path = Path("/proc/kallsyms")) -> None:
        self._path = path

    def symbols(self, name: str) -> list[Symbol]:
        """Return every text symbol of this name, in the kernel's order.

        Static functions may share a name, within the kernel and between modules.
        """
        needle = b" " + name.encode()
        return sorted(
            (s for end in (b"\n", b"\t") for s in self._search(needle + end)),
            key=lambda symbol: symbol.module is not None,
        )

    def count(self, name: str) -> int:
        """Return how many text symbols have this name; kprobes refuse a name that is not unique."""
        return len(self.symbols(name))

    def module_of(self, name: str) -> str | None:
        """Return the module of the symbol; None for the kernel's own and for an unknown one."""
        found = self.symbols(name)
        return found[0].module if found else None

    def address(self, name: str, module: str | None = None) -> int | None:
        """Return the symbol's address, or None where no such text symbol exists.

        Of several with one name a global one goes first, then the kernel's own, then the first.
        With ``module``, only that module's symbols count.

        Raises :class:`MissingPrerequisite` where the kernel hides addresses.
        """
        self._require_addresses()
        found = [s for s in self.symbols(name) if module is None or s.module == module]
        return min(found, key=_preference).address if found else None

    def addresses(self, names: Iterable[str]) -> dict[str, int]:
        """Return the addresses of those names that exist, as :meth:`address` does for one.

        Raises :class:`MissingPrerequisite` where the kernel hides addresses.
        """
        self._require_addresses()
        wanted = {name.encode(): name for name in names}
        if len(wanted) < _ONE_PASS:
            found = [symbol for name in wanted.values() for symbol in self.symbols(name)]
        else:
            found = [_parse(line) for line in self._lines_of(wanted)]
        best: dict[str, Symbol] = {}
        for symbol in found:
            known = best.get(symbol.name)
            if known is None or _preference(symbol) < _preference(known):
                best[symbol.name] = symbol
        return {name: best[name].address for name in wanted.values() if name in best}

    def names(self, pattern: str) -> list[str]:
        """Return the functions that match a glob (``*``, ``?``, ``[…]``), sorted, each once.

        Generated code (BPF programs, trampolines) is left out.
        """
        return sorted(self.functions(pattern))

    def functions(self, pattern: str) -> dict[str, tuple[int, str | None]]:
        """Return the functions that match a glob: how many have that name, and whose they are.

        That is the module of the first one, None for the kernel's own. One pass, however many
        match.
        """
        expression = re.compile(rb" [TWtw] (%b)(?:\n|\t\[(\S+)\])" % _glob(pattern))
        found: dict[str, tuple[int, str | None]] = {}
        for name, module in expression.findall(self._data):
            owner = module.decode()
            if owner in _GENERATED or name.startswith(_NOT_FUNCTIONS):
                continue
            count, first = found.get(name.decode(), (0, owner or None))
            found[name.decode()] = count + 1, first
        return found

    def tracepoints(self) -> set[str]:
        """Return the names of all tracepoints, without their groups, which kallsyms lacks.

        They show in ``__tracepoint_NAME`` (data: with CONFIG_KALLSYMS_ALL only) and
        ``__traceiter_NAME`` (since Linux 5.10; include/linux/tracepoint.h). For kernels where
        tracefs cannot be read.
        """
        found = re.findall(rb" [A-Za-z] __trace(?:iter|point)_(?!ptr_|str\b)(\S+)", self._data)
        return {name.decode() for name in found}

    @cached_property
    def hidden(self) -> bool:
        """Whether every address is given as zero (kernel.kptr_restrict, no CAP_SYSLOG)."""
        if "_data" in self.__dict__:
            return _ANY_ADDRESS.search(self._data) is None
        # Where they are not, the first lines tell, which takes 55 ms less.
        try:
            with self._path.open("rb", buffering=0) as file:
                shown = _ANY_ADDRESS.search(file.read(_FIRST_LINES)) is not None
        except OSError:
            shown = False
        return not shown and _ANY_ADDRESS.search(self._data) is None

    def forget(self) -> None:
        """Give back the memory (5 to 15 MB); the file is read again when next asked."""
        self.__dict__.pop("_data", None)
        self.__dict__.pop("hidden", None)

    @cached_property
    def _data(self) -> bytes:
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise MissingPrerequisite(
                f"cannot read the kernel's symbols from {self._path}: {error.strerror}; "
                "a kernel with CONFIG_KALLSYMS and a mounted /proc are needed"
            ) from error
        if b" T " not in data and b" t " not in data:
            raise MissingPrerequisite(
                f"{self._path} lists no kernel function; "
                "run a kernel with CONFIG_KALLSYMS and look that /proc is the host's"
            )
        log.debug("%s: %d bytes", self._path, len(data))
        return data

    def _require_addresses(self) -> None:
        if self.hidden:
            raise MissingPrerequisite(
                f"the kernel hides the addresses in {self._path}; "
                "run as root (CAP_SYSLOG) and with sysctl kernel.kptr_restrict at 0 or 1"
            )

    def _search(self, needle: bytes) -> Iterator[Symbol]:
        data = self._data
        at = data.find(needle)
        while at >= 0:
            if data[at - 1] in TEXT_TYPES:
                yield _parse(data[at - 18 : data.find(b"\n", at)])
            at = data.find(needle, at + 1)

    def _lines_of(self, wanted: Iterable[bytes]) -> list[bytes]:
        names = frozenset(wanted)
        return [
            line
            for line in self._data.split(b"\n")
            if (line[19:] in names or (line[-1:] == b"]" and line[19 : line.find(b"\t")] in names))
            and line[17] in TEXT_TYPES
        ]


def _parse(line: bytes) -> Symbol:
    name, _, module = line[19:].decode().partition("\t")
    return Symbol(name, int(line[:16], 16), chr(line[17]), module[1:-1] or None)


def _preference(symbol: Symbol) -> tuple[bool, bool]:
    return symbol.type not in "TW", symbol.module is not None


def _glob(pattern: str) -> bytes:
    """Turn a glob into an expression over the bytes of one name; as fnmatch, but never past it."""
    out = ""
    rest = pattern
    while rest:
        char, rest = rest[0], rest[1:]
        closing = rest.find("]", 2 if rest.startswith("!") else 1) if char == "[" else -1
        if char == "*":
            out += r"\S*"
        elif char == "?":
            out += r"\S"
        elif closing > 0:
            members, rest = rest[:closing], rest[closing + 1 :]
            # Excluding blanks too keeps [!x] from running into the next line.
            start = r"[^\s" if members.startswith("!") else "["
            out += start + re.sub(r"([\\\[\]^&~|])", r"\\\1", members.removeprefix("!")) + "]"
        else:
            out += re.escape(char)
    return out.encode()
