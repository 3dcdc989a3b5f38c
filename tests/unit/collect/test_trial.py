"""Trials on this very kernel: what they make is gone afterwards."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.capabilities import CAPABILITIES, require
from retis_py.collect import trial
from retis_py.errors import MissingPrerequisite
from retis_py.kernel.kallsyms import KallSyms


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    require("root")
    before, threads = descriptors(), threading.active_count()
    yield
    end = time.monotonic() + 20
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.005)
    assert descriptors() == before


@pytest.mark.parametrize(
    "attempt",
    [trial.make_ring, trial.load_program, trial.attach_raw_tracepoint, trial.probe_user_space],
)
def test_what_this_kernel_has(attempt: object) -> None:
    attempt()  # type: ignore[operator]


def test_kprobes() -> None:
    address = trial.quiet_function(KallSyms())
    assert address
    if CAPABILITIES["kprobes"]() is None:
        trial.probe_function(address)
    else:
        with pytest.raises(OSError, match="type"):
            trial.probe_function(address)


def test_what_the_kernel_refuses() -> None:
    for attempt in (trial.probe_function, trial.probe_functions_at_once):
        with pytest.raises(OSError) as caught:
            attempt(1)  # nothing is at that address
        assert caught.value.errno in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP, errno.EILSEQ)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00000000000000a0 T ip_rcv\n00000000000000b0 T bpf_fentry_test1\n", 0xB0),
        ("00000000000000a0 T ip_rcv\n", 0xA0),
        ("00000000000000a0 T ip6_rcv\n", None),
    ],
)
def test_quiet_function(tmp_path: Path, text: str, address: int | None) -> None:
    (tmp_path / "kallsyms").write_text(text)
    assert trial.quiet_function(KallSyms(tmp_path / "kallsyms")) == address


def test_quiet_function_without_addresses(tmp_path: Path) -> None:
    (tmp_path / "kallsyms").write_text("0000000000000000 T ip_rcv\n")
    with pytest.raises(MissingPrerequisite, match="CAP_SYSLOG"):
        trial.quiet_function(KallSyms(tmp_path / "kallsyms"))
