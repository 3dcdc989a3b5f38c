"""Programs in this kernel, run when a test says so."""

import ctypes
from collections.abc import Iterator, Sequence

from retis_py.collect.compiled import Compiled
from retis_py.collect.compiler import Compiler
from retis_py.collect.ring import HEADER_SIZE, RecordSource
from retis_py.kernel import libbpf

_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS: the most that a raw tracepoint has


class _TestRunOpts(ctypes.Structure):
    """``struct bpf_test_run_opts`` of libbpf."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


def compile_text(text: str, functions: Sequence[str]) -> Compiled:
    with Compiler() as compiler:
        return compiler.compile(text, functions)


class Runner:
    """Runs a raw tracepoint's program with arguments of our choice (BPF_PROG_TEST_RUN)."""

    def __init__(self, program: int) -> None:
        self._program = program
        self._arguments = (ctypes.c_uint64 * _ARGUMENTS)()
        self._options = _TestRunOpts(
            sz=ctypes.sizeof(_TestRunOpts),
            ctx_in=ctypes.addressof(self._arguments),
            ctx_size_in=ctypes.sizeof(self._arguments),
        )
        self._run = libbpf.library().bpf_prog_test_run_opts

    def __call__(self, *arguments: int) -> int:
        """Run it once and return what the program returned."""
        for position, value in enumerate(arguments):
            self._arguments[position] = value
        error = self._run(self._program, ctypes.byref(self._options))
        assert error == 0, f"BPF_PROG_TEST_RUN: {error}"
        return int(self._options.retval)


def drain(source: RecordSource, limit: int = 1 << 30) -> list[bytes]:
    """Take the records out that are committed by now, discarded ones left out."""
    batch = source.peek(limit)
    data = bytes(batch.data)
    batch = batch._replace(data=b"")
    source.advance(len(data))
    records = [*raw_records(data)]
    assert len(records) == batch.records
    return [record for length, record in records if not length & 1 << 30]


def raw_records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take records apart as a ring has them: the length with its flags, the content."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        size = length & (1 << 30) - 1
        yield length, data[at + HEADER_SIZE : at + HEADER_SIZE + size]
        at += HEADER_SIZE + size + 7 & ~7
