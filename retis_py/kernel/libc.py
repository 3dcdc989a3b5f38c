"""What the C library offers and Python does not.

Holes in files, locked memory, capabilities, a parent's end.
"""

import ctypes
import os
import struct
from collections.abc import Collection
from functools import cache

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # FALLOC_FL_*, include/uapi/linux/falloc.h
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # include/uapi/asm-generic/mman.h
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h

CAP_DAC_OVERRIDE = 1
CAP_SYS_PTRACE = 19
CAP_SYSLOG = 34


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def punch_hole(descriptor: int, offset: int, size: int) -> None:
    """Give back what a file takes there on disk; it reads as zeroes, its length stays.

    Raises:
        OSError: the file system cannot.
    """
    fallocate = _library().fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    _check(fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, size))


def lock_memory() -> None:
    """Keep this process's memory, what is touched of it now and later, from being swapped out.

    Raises:
        OSError: not permitted, or more than RLIMIT_MEMLOCK.
    """
    _check(_library().mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT))


def signal_when_parent_ends(number: int) -> None:
    """Have this process get a signal when the one that started it has ended, however it does.

    Raises:
        OSError: there is no such signal.
    """
    _check(_library().prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0))


def keep_capabilities(kept: Collection[int]) -> None:
    """Give up all capabilities but these, by number, for good.

    Raises:
        OSError: the kernel refuses.
    """
    mask = sum(1 << number for number in kept)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    held = struct.Struct("=6I")
    now = ctypes.create_string_buffer(held.size)
    library = _library()
    _check(library.capget(ctypes.create_string_buffer(header, len(header)), now))
    _, low, _, _, high, _ = held.unpack(now.raw)  # effective, permitted, inheritable; twice
    low, high = low & mask, high & (mask >> 32)
    wanted = held.pack(low, low, 0, high, high, 0)
    _check(library.capset(ctypes.create_string_buffer(header, len(header)), wanted))
    _check(library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
