"""perf_event_open(2): how kprobes and uprobes are attached one by one, perf buffers made."""

import ctypes
import fcntl
import os
import platform
from pathlib import Path

_SYSCALL = {"x86_64": 298, "aarch64": 241}
_ATTR_SIZE = 112  # PERF_ATTR_SIZE_VER5, known to every kernel since Linux 4.1
_IOC_ENABLE = 0x2400
_IOC_SET_BPF = 0x40042408
_FLAG_FD_CLOEXEC = 8
_PROBE_DEVICES = Path("/sys/bus/event_source/devices")


class Attr(ctypes.Structure):
    """``struct perf_event_attr``, as far as it is used (include/uapi/linux/perf_event.h)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),  # kprobe_func, uprobe_path
        ("config2", ctypes.c_uint64),  # kprobe_addr, probe_offset
        ("rest", ctypes.c_uint8 * 40),
    )


def perf_event_open(attr: Attr, pid: int, cpu: int) -> int:
    """Open an event and return its descriptor.

    Raises:
        OSError: the kernel refuses.
    """
    attr.size = _ATTR_SIZE
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    fd: int = libc.syscall(
        ctypes.c_long(_SYSCALL[platform.machine()]),
        ctypes.byref(attr),
        ctypes.c_long(pid),
        ctypes.c_long(cpu),
        ctypes.c_long(-1),
        ctypes.c_ulong(_FLAG_FD_CLOEXEC),
    )
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return fd


def enable(fd: int) -> None:
    """Start an event."""
    fcntl.ioctl(fd, _IOC_ENABLE, 0)


def open_kprobe(address: int, at_return: bool) -> int:
    """Make a kprobe at the function with that address and return its event's descriptor.

    By address, since several functions may have one name. The event source ``kprobe`` exists
    since Linux 4.17.

    Raises:
        OSError: the kernel refuses.
    """
    attr = Attr(
        type=int((_PROBE_DEVICES / "kprobe/type").read_text()),
        config=int(at_return),  # format/retprobe: config:0
        config2=address,
    )
    return perf_event_open(attr, -1, 0)


def open_uprobe(path: Path, offset: int, semaphore: int = 0) -> int:
    """Make a uprobe at a place in a file and return its event's descriptor.

    All processes that run the file hit it, those that start later too, whatever they call it: it
    belongs to the inode, so that ``path`` is needed no longer. ``semaphore`` is the place of a
    USDT probe's counter in the file, 0 for none, which the kernel keeps above zero meanwhile
    (Linux 4.20 on).

    Raises:
        OSError: the kernel refuses.
    """
    name = ctypes.create_string_buffer(bytes(path))
    attr = Attr(
        type=int((_PROBE_DEVICES / "uprobe/type").read_text()),
        config=semaphore << 32,  # format/ref_ctr_offset: config:32-63
        config1=ctypes.addressof(name),
        config2=offset,
    )
    return perf_event_open(attr, -1, 0)


def set_program(fd: int, program: int) -> None:
    """Let an event run a BPF program, where the kernel has no links for that (before 5.15).

    Raises:
        OSError: the kernel refuses.
    """
    fcntl.ioctl(fd, _IOC_SET_BPF, program)
    enable(fd)
