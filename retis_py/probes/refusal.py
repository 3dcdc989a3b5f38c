"""What to say where the kernel refuses a probe."""

import errno
import os

from retis_py.errors import RetisError
from retis_py.probes.probe import Probe, ProbeType


def refusal(probe: Probe, error: OSError) -> RetisError:
    """Return the error for a probe that the kernel refused with that one."""
    return RetisError(f"cannot attach {probe}: {_why(probe, error.errno or 0)}")


def uprobe_refusal(error: OSError) -> str:
    """Return why the kernel refuses to probe a program's file, in a few words."""
    words = os.strerror(error.errno or 0)
    if error.errno in (errno.EPERM, errno.EACCES):
        # CAP_PERFMON was enough for some years (kernel/events/core.c, perf_uprobe_event_init).
        # Linux 6.18 asks for more, and so do stable series by now, since a breakpoint inside an
        # instruction can be destructive.
        return f"{words}: CAP_SYS_ADMIN is needed"
    return words


def kprobe_refusal() -> str:
    """Return why perf_event_open(2) is denied, in a few words, to those who have CAP_PERFMON.

    A sysctl of 3 is Debian's own addition and its default.
    """
    return (
        f"{os.strerror(errno.EACCES)}: CAP_SYS_ADMIN is needed where the sysctl"
        " kernel.perf_event_paranoid is above 2"
    )


def _why(probe: Probe, number: int) -> str:
    if number in (errno.EINVAL, errno.EOPNOTSUPP) and probe.type is not ProbeType.RAW_TRACEPOINT:
        return "the kernel does not let this function be probed"
    if number == errno.EACCES and probe.type is not ProbeType.RAW_TRACEPOINT:
        return kprobe_refusal()
    if number in (errno.EPERM, errno.EACCES):
        return "not permitted: run as root (or with CAP_BPF and CAP_PERFMON)"
    return os.strerror(number)
