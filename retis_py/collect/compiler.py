"""Compiling a program in a child process, which alone imports bcc and with it LLVM.

The child takes the program's text and answers with each function's instructions and each map's
definition; then it ends, and its 130 MiB with it. It can be started before the text is ready,
since importing bcc takes as long as putting the text together.
"""

import ctypes
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import IO, NoReturn, Self

import msgspec

from retis_py.collect.headers import write_header_tree
from retis_py.errors import MissingPrerequisite, RetisError

log = logging.getLogger(__name__)

_NO_BCC = (
    "cannot import bcc, which compiles the program: install it from the distribution (Debian: "
    "apt-get install python3-bpfcc) and run with a Python that sees it, {executable} does not"
)


class MapDefinition(msgspec.Struct, frozen=True):
    """A map as the program declares it; sizes in bytes."""

    name: str
    type: int  # BPF_MAP_TYPE_*
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class Compiled(msgspec.Struct, frozen=True):
    """What loading needs.

    In the instructions (8 bytes each) a map's place is taken by its index in ``maps``.
    """

    functions: dict[str, bytes]
    maps: list[MapDefinition]


class _Request(msgspec.Struct):
    text: str
    functions: list[str]


class _Failure(msgspec.Struct):
    message: str
    missing_bcc: bool = False


class _Answer(msgspec.Struct):
    compiled: Compiled | None = None
    failure: _Failure | None = None


class Compiler:
    """The child, from its start to its answer; to be used in a ``with`` statement."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="retis-")
        write_header_tree(Path(self._folder.name))
        environment = os.environ | {"BCC_KERNEL_SOURCE": self._folder.name}
        self._child = subprocess.Popen(
            [sys.executable, "-m", __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            # Ctrl-C is for the process that the user started; the child ends when it does.
            process_group=0,
        )

    def compile(self, text: str, functions: Sequence[str]) -> Compiled:
        """Compile the program.

        Raises:
            MissingPrerequisite: bcc is not installed.
            RetisError: the program does not compile (a bug, or a kernel unlike those tested).
        """
        request = msgspec.msgpack.encode(_Request(text, list(functions)))
        output, messages = self._child.communicate(request)
        for line in messages.decode(errors="replace").splitlines():
            log.debug("compiler: %s", line)
        try:
            answer = msgspec.msgpack.decode(output, type=_Answer)
        except msgspec.DecodeError as error:
            raise RetisError(
                f"the compiler ended without an answer (exit code {self._child.returncode}):"
                " see what it says with --log-level debug"
            ) from error
        if answer.compiled is not None:
            return answer.compiled
        if answer.failure is not None and answer.failure.missing_bcc:
            raise MissingPrerequisite(_NO_BCC.format(executable=sys.executable))
        why = answer.failure.message if answer.failure else "no reason given"
        raise RetisError(
            f"the program does not compile ({why}): this is a bug, please report what"
            " 'retis --log-level debug collect …' prints"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
            if stream and not stream.closed:
                stream.close()
        self._folder.cleanup()


# The child's side


def _serve() -> NoReturn:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print is no part of the answer
    try:
        answer = _answer(sys.stdin.buffer)
    except ImportError as error:
        answer = _Answer(failure=_Failure(str(error), missing_bcc=True))
    except Exception as error:
        answer = _Answer(failure=_Failure(str(error) or type(error).__name__))
    output.write(msgspec.msgpack.encode(answer))
    output.close()
    os._exit(0)  # LLVM takes its time to tear down


def _answer(source: IO[bytes]) -> _Answer:
    import bcc  # noqa: F401, PLC0415 (while the parent still puts the text together)

    data = source.read()
    if not data:
        os._exit(0)  # the parent gave up
    request = msgspec.msgpack.decode(data, type=_Request)
    return _Answer(compiled=_compile(request))


def _compile(request: _Request) -> Compiled:
    from bcc import BPF, lib  # noqa: PLC0415 (the parent must do without)

    _declare_prototypes(lib)
    program = BPF(text=request.text, cflags=["-Wno-macro-redefined"])
    module = program.module
    maps, indices = [], {}
    for i in range(lib.bpf_num_tables(module)):
        indices[lib.bpf_table_fd_id(module, i)] = i
        maps.append(
            MapDefinition(
                name=lib.bpf_table_name(module, i).decode(),
                type=lib.bpf_table_type_id(module, i),
                key_size=lib.bpf_table_key_size_id(module, i),
                value_size=lib.bpf_table_leaf_size_id(module, i),
                max_entries=lib.bpf_table_max_entries_id(module, i),
                flags=lib.bpf_table_flags_id(module, i),
            )
        )
    functions = {
        name: _number_maps(program.dump_func(name.encode()), indices) for name in request.functions
    }
    return Compiled(functions, maps)


def _declare_prototypes(lib: ctypes.CDLL) -> None:
    """Say what bcc's Python does not say of the functions that it never calls."""
    for name, result in (
        ("bpf_table_fd_id", c_int),
        ("bpf_table_name", c_char_p),
        ("bpf_table_key_size_id", c_size_t),
        ("bpf_table_leaf_size_id", c_size_t),
    ):
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = (c_void_p, c_size_t)
    lib.bpf_num_tables.restype = c_size_t
    lib.bpf_num_tables.argtypes = (c_void_p,)


_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1


def _number_maps(instructions: bytes, indices: dict[int, int]) -> bytes:
    """Replace map descriptors, which are this process's, by the maps' indices."""
    code = bytearray(instructions)
    for at in range(0, len(code), 8):
        if code[at] == _LD_IMM64 and code[at + 1] >> 4 == _PSEUDO_MAP_FD:
            descriptor = int.from_bytes(code[at + 4 : at + 8], sys.byteorder)
            code[at + 4 : at + 8] = indices[descriptor].to_bytes(4, sys.byteorder)
    return bytes(code)


if __name__ == "__main__":
    _serve()
