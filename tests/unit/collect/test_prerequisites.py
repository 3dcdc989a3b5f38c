"""Why nothing can be collected, on machines that are not this one."""

import errno
import os
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect import trial
from retis_py.collect.prerequisites import PRIVILEGES, check_collecting, missing_privileges
from retis_py.errors import MissingPrerequisite
from retis_py.kernel.host import Host
from unit.collect.made_up_host import ALL, bits, host

NET_ADMIN, SYS_ADMIN, PERFMON, BPF = 12, 21, 38, 39


def refuse(number: int) -> object:
    def attempt() -> None:
        raise OSError(number, os.strerror(number))

    return attempt


def reason(machine: Host, *, perf_buffer: bool = False) -> str:
    with pytest.raises(MissingPrerequisite) as caught:
        check_collecting(machine, perf_buffer)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_this_machine() -> None:
    require("root")
    check_collecting(Host())
    check_collecting(Host(), perf_buffer=True)


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [
        (bits(), ["CAP_BPF", "CAP_PERFMON"]),
        (bits(NET_ADMIN, PERFMON), ["CAP_BPF"]),
        (bits(BPF), ["CAP_PERFMON"]),
        (bits(BPF, PERFMON), []),
        (bits(SYS_ADMIN), []),  # all that there is before Linux 5.8
        (ALL, []),
    ],
)
def test_capabilities(tmp_path: Path, capabilities: str, missing: list[str]) -> None:
    machine = host(tmp_path, {}, capabilities=capabilities)
    assert missing_privileges(machine) == missing
    if missing:
        assert reason(machine) == (
            "collecting needs privileges that this process lacks"
            f" ({', '.join(missing)}): run it as root, for example with sudo"
        )


def test_which_privileges_are_held(tmp_path: Path) -> None:
    machine = host(tmp_path, {}, capabilities=bits(SYS_ADMIN, NET_ADMIN))
    held = {p.name for p in PRIVILEGES if p.is_held(machine)}
    assert held == {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_NET_ADMIN"}


def test_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = os.uname_result(("Linux", "here", "6.1", "", "s390x"))
    monkeypatch.setattr(os, "uname", lambda: elsewhere)
    assert reason(host(tmp_path, {})).startswith("cannot compile for s390x: only aarch64 and")


@pytest.mark.parametrize(
    ("state", "locked"), [("[confidentiality]", True), ("[integrity]", False), ("[none]", False)]
)
def test_lockdown(tmp_path: Path, state: str, locked: bool) -> None:
    require("root")
    machine = host(tmp_path, {"sys/kernel/security/lockdown": f"{state}\n"})
    if locked:
        assert "locked down (confidentiality)" in reason(machine)
    else:
        check_collecting(machine)


@pytest.mark.parametrize(
    ("attempt", "number", "words"),
    [
        ("make_ring", errno.EPERM, "does not let this process make BPF maps although it holds"),
        ("make_ring", errno.EINVAL, "this kernel has no BPF ring buffer: Linux 5.8"),
        ("make_ring", errno.ENOMEM, "refuses a BPF ring buffer (Cannot allocate memory)"),
        ("load_program", errno.EPERM, "does not let this process load BPF programs although it"),
        ("load_program", errno.EACCES, "does not let this process load BPF programs although it"),
        ("load_program", errno.EINVAL, "refuses a program that reads its memory (Invalid argument"),
    ],
)
def test_what_is_refused_although_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: str, number: int, words: str
) -> None:
    require("root")
    monkeypatch.setattr(trial, attempt, refuse(number))
    assert words in reason(host(tmp_path, {}))


def test_perf_buffers_do_without_the_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("root")
    monkeypatch.setattr(trial, "make_ring", refuse(errno.EINVAL))
    check_collecting(host(tmp_path, {}), perf_buffer=True)
