"""What the C library offers and Python does not: holes in files, memory, a parent's end."""

import ctypes
import os
from functools import cache

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # FALLOC_FL_*, include/uapi/linux/falloc.h
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # include/uapi/asm-generic/mman.h
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


@cache
def library() -> ctypes.CDLL:
    """Return it; what it sets errno to is kept for :func:`check`."""
    return ctypes.CDLL(None, use_errno=True)


def punch_hole(descriptor: int, offset: int, size: int) -> None:
    """Give back what a file takes there on disk; it reads as zeroes, its length stays.

    Raises:
        OSError: the file system cannot.
    """
    fallocate = library().fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    check(fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, size))


def give_back_memory() -> None:
    """Give free memory back to the kernel that the C library would keep, where it is glibc."""
    trim = getattr(library(), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def lock_memory() -> None:
    """Keep this process's memory, what is touched of it now and later, from being swapped out.

    Raises:
        OSError: not permitted, or more than RLIMIT_MEMLOCK.
    """
    check(library().mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT))


def signal_when_parent_ends(number: int) -> None:
    """Have this process get a signal when the one that started it has ended, however it does.

    Raises:
        OSError: there is no such signal.
    """
    check(library().prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0))


def check(result: int) -> None:
    """Raise the OSError that a result other than 0 stands for."""
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
