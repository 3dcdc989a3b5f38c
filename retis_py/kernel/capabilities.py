"""Capabilities of this process: looked at, and given up for good (capabilities(7)).

All of this is about the calling thread: what other threads run already keeps what it has.
"""

import ctypes
import resource
import struct
from collections.abc import Collection
from contextlib import suppress
from enum import IntEnum

from retis_py.kernel.libc import check, library

_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h
_SETS = struct.Struct("=6I")  # effective, permitted, inheritable: low halves, then high halves

# include/uapi/linux/prctl.h
_CAPBSET_READ, _CAPBSET_DROP = 23, 24
_SET_NO_NEW_PRIVS = 38
_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL = 47, 4


class Capability(IntEnum):
    """``CAP_*``, in the order of their bits (include/uapi/linux/capability.h)."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    LINUX_IMMUTABLE = 9
    NET_BIND_SERVICE = 10
    NET_BROADCAST = 11
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_LOCK = 14
    IPC_OWNER = 15
    SYS_MODULE = 16
    SYS_RAWIO = 17
    SYS_CHROOT = 18
    SYS_PTRACE = 19
    SYS_PACCT = 20
    SYS_ADMIN = 21
    SYS_BOOT = 22
    SYS_NICE = 23
    SYS_RESOURCE = 24
    SYS_TIME = 25
    SYS_TTY_CONFIG = 26
    MKNOD = 27
    LEASE = 28
    AUDIT_WRITE = 29
    AUDIT_CONTROL = 30
    SETFCAP = 31
    MAC_OVERRIDE = 32
    MAC_ADMIN = 33
    SYSLOG = 34
    WAKE_ALARM = 35
    BLOCK_SUSPEND = 36
    AUDIT_READ = 37
    PERFMON = 38
    BPF = 39
    CHECKPOINT_RESTORE = 40


def capability_name(number: int) -> str:
    """Return ``CAP_NAME``; one that is newer than our list is ``CAP_NUMBER``."""
    try:
        return f"CAP_{Capability(number).name}"
    except ValueError:
        return f"CAP_{number}"


def effective() -> frozenset[int]:
    """Return the numbers of those that count now."""
    return _numbers(_get()[0])


def may_load_programs() -> bool:
    """Return whether this process may load programs that trace the kernel."""
    held = effective()
    return Capability.SYS_ADMIN in held or {Capability.BPF, Capability.PERFMON} <= held


def may_lock_memory() -> bool:
    """Return whether this process may lock as much memory as it likes."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return limit == resource.RLIM_INFINITY or Capability.IPC_LOCK in effective()


def set_effective(wanted: Collection[int]) -> None:
    """Let these count that are permitted, and no others; can be taken back.

    Raises:
        OSError: the kernel refuses.
    """
    _, permitted, inheritable = _get()
    _set(_mask(wanted) & permitted, permitted, inheritable)


def keep_only(kept: Collection[int]) -> None:
    """Give up all but these for good, whatever program is run: nothing is inherited.

    The bounding set is emptied too where this process may do that (CAP_SETPCAP); where it may
    not, no_new_privs and what is inherited see to it that nothing comes back.

    Raises:
        OSError: the kernel refuses.
    """
    _, permitted, _ = _get()
    mask = _mask(kept) & permitted
    # First: dropping from the bounding set is a privilege itself.
    with suppress(OSError):
        set_effective(_numbers(permitted))
        _empty_bounding_set()
    prctl = library().prctl
    check(prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    check(prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _set(mask, mask, 0)


def _empty_bounding_set() -> None:
    prctl = library().prctl
    number = 0
    while (held := prctl(_CAPBSET_READ, number, 0, 0, 0)) >= 0:  # until one that there is not
        if held:
            check(prctl(_CAPBSET_DROP, number, 0, 0, 0))
        number += 1


def _get() -> tuple[int, int, int]:
    """Return the masks of those that are effective, permitted and inheritable."""
    found = ctypes.create_string_buffer(_SETS.size)
    check(library().capget(_header(), found))
    low_e, low_p, low_i, high_e, high_p, high_i = _SETS.unpack(found.raw)
    return high_e << 32 | low_e, high_p << 32 | low_p, high_i << 32 | low_i


def _set(effective: int, permitted: int, inheritable: int) -> None:
    masks = (effective, permitted, inheritable)
    low, high = (m & 0xFFFFFFFF for m in masks), (m >> 32 for m in masks)
    check(library().capset(_header(), _SETS.pack(*low, *high)))


def _header() -> ctypes.Array[ctypes.c_char]:
    header = struct.pack("=Ii", _VERSION_3, 0)  # the calling thread
    return ctypes.create_string_buffer(header, len(header))


def _mask(numbers: Collection[int]) -> int:
    return sum(1 << number for number in set(numbers))


def _numbers(mask: int) -> frozenset[int]:
    return frozenset(bit for bit in range(mask.bit_length()) if mask >> bit & 1)
