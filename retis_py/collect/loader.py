"""Maps made, programs loaded and attached in this process, through libbpf and no LLVM.

Everything is held by descriptors: closing them detaches and frees, and so does the end of the
process however it ends, so that nothing is ever left in the kernel.
"""

import ctypes
import errno
import logging
import os
import resource
import struct
import sys
from collections.abc import Mapping
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Self

from retis_py.collect.compiled import Compiled
from retis_py.collect.maps import Map, make_map
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.kernel import libbpf, perf_event
from retis_py.kernel.capabilities import may_load_programs
from retis_py.kernel.libbpf import check

log = logging.getLogger(__name__)

_LICENSE = b"GPL"
_INSTRUCTION_SIZE = 8
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_ATTEMPTS = 20  # to load a program while signals come
_VERIFIER_LOG_SIZE = 1 << 20
_CALL = 0x85
_EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
_GET_FUNC_IP = 173  # BPF_FUNC_get_func_ip


class ProgramType(IntEnum):
    """``enum bpf_prog_type``."""

    KPROBE = 2
    RAW_TRACEPOINT = 17


class AttachType(IntEnum):
    """``enum bpf_attach_type``."""

    NONE = 0
    PERF_EVENT = 41
    TRACE_KPROBE_MULTI = 42


class Loader:
    """The maps and programs of a collection; to be used in a ``with`` statement.

    ``sizes`` overrides how many entries maps have (for the ring: bytes).

    Raises:
        MissingPrerequisite: the kernel does not let us.
    """

    def __init__(self, compiled: Compiled, sizes: dict[str, int]) -> None:
        self._lib = libbpf.library()
        self._functions = compiled.functions
        self._descriptors: list[int] = []
        _raise_memlock()
        self.maps: dict[str, Map] = {}
        self._map_fds: list[int] = []
        try:
            for definition in compiled.maps:
                made = make_map(definition, sizes.get(definition.name, definition.max_entries))
                self._map_fds.append(made.fd)
                self.maps[definition.name] = made
        except BaseException:
            self.close()
            raise

    def load(
        self,
        function: str,
        kind: ProgramType,
        attach: AttachType = AttachType.NONE,
        constants: Mapping[int, int] = MappingProxyType({}),
    ) -> int:
        """Load a function and return its descriptor.

        ``constants`` are 64-bit immediates to look for in the instructions, and what to put in
        their places.

        Raises:
            RetisError: the kernel's verifier refuses it.
        """
        code = self._link(self._functions[function], constants)
        options = libbpf.ProgLoadOpts(
            sz=ctypes.sizeof(libbpf.ProgLoadOpts), expected_attach_type=attach
        )
        fd = self._load(function, kind, code, options)
        if fd < 0:
            raise self._refused(function, kind, code, options, -fd)
        return self._keep(fd)

    def attach_raw_tracepoint(self, name: str, program: int) -> None:
        """Attach to a raw tracepoint, named without its group.

        Raises:
            OSError: the kernel does not let us.
        """
        fd = self._lib.bpf_raw_tracepoint_open(name.encode(), program)
        self._keep(check(fd, name))

    def attach_kprobe(self, program: int, address: int, at_return: bool) -> int:
        """Attach to the function at that address and return a descriptor to ask for misses.

        Raises:
            OSError: the kernel refuses.
        """
        return self._attach(program, perf_event.open_kprobe(address, at_return))

    def attach_uprobe(self, program: int, path: Path, offset: int, semaphore: int = 0) -> int:
        """Attach to a place in a program's file; see :func:`perf_event.open_uprobe`.

        Raises:
            OSError: the kernel refuses.
        """
        return self._attach(program, perf_event.open_uprobe(path, offset, semaphore))

    def _attach(self, program: int, event: int) -> int:
        mark = self.mark()
        self._keep(event)
        link: int = self._lib.bpf_link_create(program, event, AttachType.PERF_EVENT, None)
        if link >= 0:
            return self._keep(link)
        try:
            perf_event.set_program(event, program)
        except OSError:
            self.detach_since(mark)
            raise
        return event

    def attach_kprobes(self, program: int, addresses: list[int], at_return: bool) -> int:
        """Attach to many functions at once (kprobe.multi) and return the link's descriptor.

        The program must be loaded for it.

        Raises:
            OSError: the kernel has none, or refuses one of the functions.
        """
        array = (ctypes.c_uint64 * len(addresses))(*addresses)
        options = libbpf.LinkCreateOpts(sz=ctypes.sizeof(libbpf.LinkCreateOpts))
        options.kprobe_multi.flags = int(at_return)  # BPF_F_KPROBE_MULTI_RETURN
        options.kprobe_multi.cnt = len(addresses)
        options.kprobe_multi.addrs = array
        fd = self._lib.bpf_link_create(
            program, 0, AttachType.TRACE_KPROBE_MULTI, ctypes.byref(options)
        )
        return self._keep(check(fd, f"{len(addresses)} functions"))

    def program_misses(self, program: int) -> int:
        """Return how often the kernel skipped a program because one ran already (its own count)."""
        return self._info(program, _RECURSION_MISSES)

    def link_misses(self, link: int) -> int:
        """Return how often the kernel could not run a function's probe (its own count).

        Kernels count it since Linux 6.7.
        """
        kind = self._info(link, 0) & 0xFFFFFFFF
        offset = {_LINK_KPROBE_MULTI: _MULTI_MISSED, _LINK_PERF_EVENT: _KPROBE_MISSED}.get(kind)
        return self._info(link, offset) if offset else 0

    def _info(self, fd: int, offset: int) -> int:
        """Return a u64 of what the kernel says about an object, 0 where it is too old for it."""
        info = ctypes.create_string_buffer(256)
        length = ctypes.c_uint32(len(info))
        if self._lib.bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length)) < 0:
            return 0
        if length.value < offset + 8:
            return 0
        return int(struct.unpack_from("=Q", info, offset)[0])

    @cached_property
    def knows_function_address(self) -> bool:
        """Whether a program can ask which function it is attached to (Linux 5.15 on)."""
        call = struct.pack("=BBhi", _CALL, 0, 0, _GET_FUNC_IP)
        options = libbpf.ProgLoadOpts(sz=ctypes.sizeof(libbpf.ProgLoadOpts))
        fd: int = self._load("address", ProgramType.KPROBE, call + _EXIT, options)
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def mark(self) -> int:
        """Return a mark for :meth:`detach_since`."""
        return len(self._descriptors)

    def detach_since(self, mark: int) -> None:
        """Detach and unload what came after the mark."""
        while len(self._descriptors) > mark:
            os.close(self._descriptors.pop())

    @property
    def attached(self) -> bool:
        """Whether programs are still loaded."""
        return bool(self._descriptors)

    def detach(self) -> None:
        """Detach everything, keep the maps."""
        self.detach_since(0)

    def close(self) -> None:
        """Detach everything and give the maps back."""
        self.detach()
        while self._map_fds:
            os.close(self._map_fds.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep(self, fd: int) -> int:
        self._descriptors.append(fd)
        return fd

    def _link(self, instructions: bytes, constants: Mapping[int, int]) -> bytes:
        code = bytearray(instructions)
        for at in range(0, len(code) - _INSTRUCTION_SIZE, _INSTRUCTION_SIZE):
            if code[at] != _LD_IMM64:
                continue
            low, high = slice(at + 4, at + 8), slice(at + 12, at + 16)
            if code[at + 1] >> 4 == _PSEUDO_MAP_FD:
                index = int.from_bytes(code[low], sys.byteorder)
                code[low] = self._map_fds[index].to_bytes(4, sys.byteorder)
                continue
            value = int.from_bytes(code[low] + code[high], sys.byteorder)
            if value in constants:
                new = constants[value].to_bytes(8, sys.byteorder)
                code[low], code[high] = new[:4], new[4:]
        return bytes(code)

    def _load(
        self, function: str, kind: ProgramType, code: bytes, options: libbpf.ProgLoadOpts
    ) -> int:
        # A signal, Ctrl-Z's too, ends the verifier's work (EAGAIN); libbpf tries five times.
        for _ in range(_ATTEMPTS):
            fd: int = self._lib.bpf_prog_load(
                kind,
                f"retis_{function}"[:15].encode(),
                _LICENSE,
                code,
                len(code) // _INSTRUCTION_SIZE,
                ctypes.byref(options),
            )
            if fd != -errno.EAGAIN:
                break
        return fd

    def _refused(
        self,
        function: str,
        kind: ProgramType,
        code: bytes,
        options: libbpf.ProgLoadOpts,
        error: int,
    ) -> RetisError:
        if error in (errno.EPERM, errno.EACCES):
            missing = MissingPrerequisite(
                "the kernel does not let this user load BPF programs: run as root "
                "(or with CAP_BPF and CAP_PERFMON)"
            )
            # The verifier uses these numbers too.
            if not may_load_programs():
                return missing
        buffer = ctypes.create_string_buffer(_VERIFIER_LOG_SIZE)
        options.log_level, options.log_size = 1, len(buffer)
        options.log_buf = ctypes.cast(buffer, ctypes.c_char_p)
        self._load(function, kind, code, options)
        text = buffer.value.decode(errors="replace").splitlines()
        for line in text:
            log.debug("verifier: %s", line)
        why = text[-2] if len(text) > 1 else os.strerror(error)
        return RetisError(
            f"the kernel refuses the program '{function}' ({why.strip()}): please report what "
            "'retis --log-level debug collect …' prints"
        )


# Offsets in struct bpf_prog_info and struct bpf_link_info (include/uapi/linux/bpf.h):
# recursion_misses (since Linux 5.12), kprobe_multi.missed and perf_event.kprobe.missed (6.7).
_RECURSION_MISSES = 208
_MULTI_MISSED = 32
_KPROBE_MISSED = 48
_LINK_PERF_EVENT = 7  # BPF_LINK_TYPE_PERF_EVENT
_LINK_KPROBE_MULTI = 8


def _raise_memlock() -> None:
    # Before Linux 5.11 maps count against this limit.
    try:
        resource.setrlimit(
            resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
    except (ValueError, OSError):
        log.debug("the limit on locked memory stays as it is")
