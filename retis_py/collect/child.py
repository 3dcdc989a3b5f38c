"""The compiler child's own program: it alone imports bcc, and with it LLVM.

It reads a request from standard input and writes the answer to standard output, both as marshal
has them (the parent is the same Python). To start fast it imports nothing of retis_py.

Request: ``{"text": str, "functions": [str], "cflags": [str]}``. Answer: ``{"functions":
{name: bytes}, "maps": [(name, type, key_size, value_size, max_entries, flags)], "made_by": [(path,
size, mtime_ns)]}``, where ``made_by`` are the files of bcc and LLVM, or ``{"error": str,
"missing_bcc": bool}``.
"""

import ctypes
import marshal
import os
import signal
import sys
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from typing import Any, NoReturn

_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_COMPILERS = (b"libbcc", b"libLLVM", b"libclang")


_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def _serve() -> NoReturn:
    # Nobody wants the answer any more when the parent is killed. If it was just now, there is no
    # request.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print is no part of the answer
    try:
        answer = _answer()
    except ImportError as error:
        answer = {"error": str(error), "missing_bcc": True}
    except Exception as error:  # bcc raises no better
        answer = {"error": str(error) or type(error).__name__, "missing_bcc": False}
    output.write(marshal.dumps(answer))
    output.close()
    os._exit(0)  # LLVM takes its time to tear down


def _answer() -> dict[str, Any]:
    import bcc  # noqa: F401, PLC0415 (while the parent still puts the text together)

    data = sys.stdin.buffer.read()
    if not data:
        os._exit(0)  # the parent gave up
    return _compile(marshal.loads(data))  # noqa: S302 (from the parent)


def _compile(request: dict[str, Any]) -> dict[str, Any]:
    from bcc import BPF, lib  # noqa: PLC0415

    _declare_prototypes(lib)
    program = BPF(text=request["text"], cflags=request["cflags"])
    module = program.module
    maps, indices = [], {}
    for i in range(lib.bpf_num_tables(module)):
        indices[lib.bpf_table_fd_id(module, i)] = i
        maps.append(
            (
                lib.bpf_table_name(module, i).decode(),
                lib.bpf_table_type_id(module, i),
                lib.bpf_table_key_size_id(module, i),
                lib.bpf_table_leaf_size_id(module, i),
                lib.bpf_table_max_entries_id(module, i),
                lib.bpf_table_flags_id(module, i),
            )
        )
    functions = {
        name: number_maps(program.dump_func(name.encode()), indices)
        for name in request["functions"]
    }
    return {"functions": functions, "maps": maps, "made_by": _made_by()}


def _made_by() -> list[tuple[bytes, int, int]]:
    """Return the files that decide what bcc makes of a text: its Python's, and libraries."""
    import bcc  # noqa: PLC0415

    with open("/proc/self/maps", "rb") as lines:  # noqa: PTH123 (pathlib takes its time)
        mapped = {line.split(maxsplit=5)[-1].rstrip(b"\n") for line in lines}
    libraries = [path for path in mapped if path.rpartition(b"/")[2].startswith(_COMPILERS)]
    try:
        paths = (os.fsencode(bcc.__file__), *sorted(libraries))
        found = [(path, os.stat(path)) for path in paths]  # noqa: PTH116
    except OSError:  # an upgrade has just removed them
        return []
    return [(path, status.st_size, status.st_mtime_ns) for path, status in found]


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


def number_maps(instructions: bytes, indices: dict[int, int]) -> bytes:
    """Replace map descriptors, which are this process's, by the maps' indices."""
    code = bytearray(instructions)
    for at in range(0, len(code), 8):
        if code[at] == _LD_IMM64 and code[at + 1] >> 4 == _PSEUDO_MAP_FD:
            descriptor = int.from_bytes(code[at + 4 : at + 8], sys.byteorder)
            code[at + 4 : at + 8] = indices[descriptor].to_bytes(4, sys.byteorder)
    return bytes(code)


if __name__ == "__main__":
    _serve()
