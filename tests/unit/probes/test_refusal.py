import errno
import os

import pytest

from retis_py.probes.probe import Probe, ProbeType
from retis_py.probes.refusal import refusal, uprobe_refusal

FUNCTION = Probe(ProbeType.KPROBE, "schedule", ())
TRACEPOINT = Probe(ProbeType.RAW_TRACEPOINT, "net:netif_rx", ())


@pytest.mark.parametrize(
    ("probe", "number", "words"),
    [
        (FUNCTION, errno.EINVAL, "kprobe:schedule: the kernel does not let this function be"),
        (FUNCTION, errno.EOPNOTSUPP, "kprobe:schedule: the kernel does not let this function be"),
        (FUNCTION, errno.ENOMEM, "kprobe:schedule: Cannot allocate memory"),
        (FUNCTION, errno.EPERM, "kprobe:schedule: not permitted: run as root"),
        (
            FUNCTION,
            errno.EACCES,
            "kprobe:schedule: Permission denied: CAP_SYS_ADMIN is needed where",
        ),
        (TRACEPOINT, errno.EINVAL, "raw_tracepoint:net:netif_rx: Invalid argument"),
        (TRACEPOINT, errno.EACCES, "raw_tracepoint:net:netif_rx: not permitted: run as root"),
    ],
)
def test_probe(probe: Probe, number: int, words: str) -> None:
    error = refusal(probe, OSError(number, os.strerror(number)))
    assert str(error).startswith(f"cannot attach {words}")


def test_uprobe() -> None:
    denied = OSError(errno.EACCES, "Permission denied")
    assert uprobe_refusal(denied) == "Permission denied: CAP_SYS_ADMIN is needed"
    assert uprobe_refusal(OSError(errno.EINVAL, "")) == "Invalid argument"
