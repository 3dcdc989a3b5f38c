"""Compiled programs on disk, so that a second start needs neither bcc nor LLVM.

An entry's name is a digest of all that decides what the compiler answers: the program's text, in
which the kernel's offsets are, the functions wanted, the compiler's options, the header tree, our
compiler child, and the machine (BCC asks the running kernel which helpers it has). The entry lists
the files of bcc and LLVM that made it, and is good as long as these are what they were.

The cache never stands in the way: whatever is wrong with it is told in a debug line, and the
program is compiled.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from retis_py.cache_folder import CacheFolder, digest, seal, unseal
from retis_py.collect.compiled import Compiled, MapDefinition, Request
from retis_py.collect.headers import header_files

log = logging.getLogger(__name__)

MAX_ENTRIES = 256
MAX_BYTES = 32 << 20
MAX_ENTRY = 8 << 20
"""Programs kept, their bytes, and the bytes of one at most."""

_MAGIC = b"retis-py program 2\n"
_INSTRUCTION_SIZE = 8
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_CHILD = Path(__file__).with_name("child.py")


class MadeBy(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A file that had a part in compiling, as it was then."""

    path: bytes
    size: int
    mtime_ns: int

    @property
    def is_unchanged(self) -> bool:
        """Whether the file is the one that it was."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 (of bytes)
        except (OSError, ValueError):
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    made_by: Annotated[list[MadeBy], msgspec.Meta(min_length=1)]
    functions: dict[str, bytes]
    maps: list[MapDefinition]


class _UnusableError(Exception):
    """An entry is damaged, or too old."""


class CompileCache:
    """The programs that this user has compiled; to be closed when no longer needed."""

    def __init__(self, folder: CacheFolder, machine: "Machine | None" = None) -> None:
        self._folder = folder
        about = [_CHILD.read_bytes(), header_files(), machine or Machine.running()]
        self._machine = _digest(about)[:16]

    @classmethod
    def of_user(cls) -> "CompileCache | None":
        """Return that of the effective user, None where there can be none."""
        try:
            return cls(CacheFolder("programs"))
        except OSError as error:
            log.debug("compile cache: there is none: %s", error)
            return None

    def close(self) -> None:
        """Give the folder's descriptor back."""
        self._folder.close()

    @property
    def is_empty(self) -> bool:
        """Whether no program at all was compiled for this machine."""
        try:
            return not any(name.startswith(self._machine) for name in self._folder.names())
        except OSError:
            return True

    def find(self, request: Request) -> Compiled | None:
        """Return what was compiled for such a request, None where nothing was."""
        name = self._name(request)
        try:
            entry = _decode(self._folder.read(name, MAX_ENTRY), name, request)
        except FileNotFoundError:
            log.debug("compile cache: %s is not there", name)
        except OSError as error:
            log.debug("compile cache: %s is not used: %s", name, error)
        except _UnusableError as error:
            log.debug("compile cache: %s is removed: %s", name, error)
            self._folder.remove(name)
        else:
            log.debug("compile cache: %s is used", name)
            return Compiled(entry.functions, entry.maps)
        return None

    def keep(self, request: Request, compiled: Compiled, made_by: Sequence[MadeBy]) -> None:
        """Write down what was compiled for a request."""
        name = self._name(request)
        data = _encode(_Entry(name, list(made_by), compiled.functions, compiled.maps))
        if not made_by or len(data) > MAX_ENTRY:
            log.debug("compile cache: %s cannot be kept (%d bytes)", name, len(data))
            return
        try:
            self._folder.write(name, data)
            log.debug("compile cache: %s is written", name)
            self._folder.prune(MAX_ENTRIES, MAX_BYTES)
        except OSError as error:
            log.debug("compile cache: cannot write: %s", error)

    def _name(self, request: Request) -> str:
        return f"{self._machine}-{_digest(request)}"


class Machine(NamedTuple):
    """What BCC may ask of the machine that it runs on."""

    uname: tuple[str, ...]
    notes: bytes  # the kernel's build id
    cpus: bytes  # those possible: the size of arrays with an entry for each
    environment: tuple[tuple[str, str], ...]  # variables that BCC looks at

    @classmethod
    def running(cls) -> "Machine":
        """Return this one."""
        uname = os.uname()
        return cls(
            (uname.sysname, uname.release, uname.version, uname.machine),
            _content("/sys/kernel/notes"),
            _content("/sys/devices/system/cpu/possible"),
            tuple(sorted(i for i in os.environ.items() if i[0] == "ARCH" or i[0][:4] == "BCC_")),
        )


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _digest(about: object) -> str:
    # Of such objects ascii() tells all that is in them, and no text is too strange for it.
    return digest(ascii(about).encode("ascii")).hex()


def _encode(entry: _Entry) -> bytes:
    return seal(_MAGIC, msgspec.msgpack.encode(entry))


def _decode(data: bytes, name: str, request: Request) -> _Entry:
    try:
        entry = msgspec.msgpack.decode(unseal(_MAGIC, data), type=_Entry)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _UnusableError("it is damaged") from error
    _check(entry, name, request)
    return entry


def _check(entry: _Entry, name: str, request: Request) -> None:
    if entry.name != name or tuple(entry.functions) != request.functions:
        raise _UnusableError("it is another program's")
    if not all(_is_plausible(code, len(entry.maps)) for code in entry.functions.values()):
        raise _UnusableError("its instructions make no sense")
    for made in entry.made_by:
        if not made.is_unchanged:
            raise _UnusableError(f"{os.fsdecode(made.path)} has changed since")


def _is_plausible(code: bytes, maps: int) -> bool:
    """Whether loading can make sense of the instructions; the kernel's verifier judges them."""
    if not code or len(code) % _INSTRUCTION_SIZE:
        return False
    operations = code[::_INSTRUCTION_SIZE]
    number = operations.find(_LD_IMM64)
    while number >= 0:
        at = number * _INSTRUCTION_SIZE
        if number + 1 == len(operations):  # it takes two
            return False
        index = int.from_bytes(code[at + 4 : at + 8], sys.byteorder)
        if code[at + 1] >> 4 == _PSEUDO_MAP_FD and index >= maps:
            return False
        number = operations.find(_LD_IMM64, number + 1)
    return True
