"""What the kernel really lets us do, found out by doing it on a small scale.

A kernel may have a thing in its configuration and refuse it all the same: a lockdown, a security
module, a container, a user namespace. Whatever is made here is gone when the function returns, or
a moment later: taking a probe off waits for all CPUs, and nobody need wait for that.

Each function raises OSError where the kernel refuses.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from retis_py.collect.loader import AttachType, ProgramType
from retis_py.collect.maps import MapType
from retis_py.kernel import libbpf, perf_event
from retis_py.kernel.kallsyms import KallSyms
from retis_py.kernel.libbpf import check

# Made for tests of BPF itself (net/bpf/test_run.c): nobody comes by there meanwhile.
_QUIET_TRACEPOINTS = ("bpf_test_finish", "kfree_skb")
_QUIET_FUNCTIONS = ("bpf_fentry_test1", "skb_copy_expand", "ip_rcv")

_PROBE_READ_KERNEL = 113  # BPF_FUNC_probe_read_kernel, include/uapi/linux/bpf.h
_NOP = {"x86_64": b"\x90", "aarch64": b"\x1f\x20\x03\xd5"}


def _instruction(code: int, registers: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, registers, 0, value)


# Eight bytes at address 0 into the stack: the call fails when it runs, but only a program that may
# read the kernel's memory is accepted with it.
_READ_KERNEL = b"".join(
    (
        _instruction(0xBF, 0xA1),  # r1 = r10
        _instruction(0x07, 0x01, -8),  # r1 += -8
        _instruction(0xB7, 0x02, 8),  # r2 = 8
        _instruction(0xB7, 0x03, 0),  # r3 = 0
        _instruction(0x85, 0x00, _PROBE_READ_KERNEL),
        _instruction(0xB7, 0x00, 0),  # r0 = 0
        _instruction(0x95),  # return
    )
)


def make_ring() -> None:
    """Make a BPF ring buffer of one page."""
    page = os.sysconf("SC_PAGE_SIZE")
    options = libbpf.MapCreateOpts(sz=ctypes.sizeof(libbpf.MapCreateOpts))
    lib = libbpf.library()
    fd = lib.bpf_map_create(MapType.RINGBUF, b"retis_trial", 0, 0, page, ctypes.byref(options))
    os.close(check(fd, "ring buffer"))


def load_program() -> None:
    """Load a tracing program that reads the kernel's memory."""
    with _loaded(ProgramType.RAW_TRACEPOINT):
        pass


def attach_raw_tracepoint() -> None:
    """Attach a program to a tracepoint."""
    with _loaded(ProgramType.RAW_TRACEPOINT) as program:
        for name in _QUIET_TRACEPOINTS:
            fd = libbpf.library().bpf_raw_tracepoint_open(name.encode(), program)
            if fd >= 0:
                break
        _close_aside(check(fd, name))


def probe_function(address: int) -> None:
    """Make a kprobe, without a program."""
    _close_aside(perf_event.open_kprobe(address, at_return=False))


def probe_functions_at_once(address: int) -> None:
    """Attach a program by kprobe.multi."""
    with _loaded(ProgramType.KPROBE, AttachType.TRACE_KPROBE_MULTI) as program:
        options = libbpf.LinkCreateOpts(sz=ctypes.sizeof(libbpf.LinkCreateOpts))
        options.kprobe_multi.cnt = 1
        options.kprobe_multi.addrs = (ctypes.c_uint64 * 1)(address)
        fd = libbpf.library().bpf_link_create(
            program, 0, AttachType.TRACE_KPROBE_MULTI, ctypes.byref(options)
        )
        _close_aside(check(fd, "kprobe.multi"))


def probe_user_space() -> None:
    """Make a uprobe, in a file that is in memory only, so that no process has it."""
    file = os.memfd_create("retis_trial")
    try:
        os.write(file, _NOP[os.uname().machine])
        _close_aside(perf_event.open_uprobe(Path(f"/proc/self/fd/{file}"), 0))
    finally:
        os.close(file)


def quiet_function(kallsyms: KallSyms) -> int | None:
    """Return the address of a function for trials.

    Raises:
        MissingPrerequisite: the kernel hides addresses.
    """
    addresses = kallsyms.addresses(_QUIET_FUNCTIONS)
    return next((addresses[name] for name in _QUIET_FUNCTIONS if name in addresses), None)


@contextmanager
def _loaded(kind: ProgramType, attach: AttachType = AttachType.NONE) -> Iterator[int]:
    options = libbpf.ProgLoadOpts(
        sz=ctypes.sizeof(libbpf.ProgLoadOpts), expected_attach_type=attach
    )
    fd = libbpf.library().bpf_prog_load(
        kind, b"retis_trial", b"GPL", _READ_KERNEL, len(_READ_KERNEL) // 8, ctypes.byref(options)
    )
    check(fd, "program")
    try:
        yield fd
    finally:
        os.close(fd)


def _close_aside(fd: int) -> None:
    Thread(target=os.close, args=(fd,)).start()
