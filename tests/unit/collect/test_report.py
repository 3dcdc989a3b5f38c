"""Which collectors can run, and why not: the words of ``collect``, on made-up machines."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect import report as reporting
from retis_py.collect import trial
from retis_py.collect.compiler import NO_BCC
from retis_py.collect.features import Machine
from retis_py.collect.libraries import Library
from retis_py.collect.prerequisites import check_collecting
from retis_py.collect.report import CollectorReport, Report, make_report
from retis_py.collectors.registry import CollectorOptions, all_collectors, choose_collectors
from retis_py.errors import MissingPrerequisite
from retis_py.kernel import libbpf
from retis_py.kernel.btf import Argument, Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from unit.collect.made_up_host import KPROBES, bits, host
from unit.collectors.made_up import OtherTypes
from unit.collectors.openvswitch import OvsTypes, openvswitch

NAMES = [collector.name for collector in all_collectors(CollectorOptions())]
Made = Callable[..., dict[str, CollectorReport]]


@pytest.fixture(autouse=True)
def _needs() -> None:
    require("root")
    require("btf")


@pytest.fixture
def vmlinux() -> Btf:
    return Btf.vmlinux()


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Reports of machines with other types than this one's."""

    def make(machine: Host, types: Types | None = None, no_types: str | None = None) -> Report:
        made = Machine(machine, None, types, no_types)
        monkeypatch.setattr(Machine, "of", lambda _: made)
        return make_report(machine)

    return make


@pytest.fixture
def collectors(report: Callable[..., Report]) -> Made:
    def make(machine: Host, types: Types | None) -> dict[str, CollectorReport]:
        found = report(machine, types)
        assert [c.name for c in found.collectors] == NAMES
        return {c.name: c for c in found.collectors}

    return make


def words_of_collect(name: str, machine: Host, types: Types) -> str | None:
    """What choosing the collector for a collection ends with."""
    try:
        check_collecting(machine)
        choose_collectors([name], CollectorOptions(), machine, types)
    except MissingPrerequisite as error:
        return str(error)
    return None


MACHINES: dict[str, dict[str, str]] = {
    "without modules": {"proc/config.gz": "CONFIG_NF_CONNTRACK=y\n"},
    "nothing loaded": {"proc/config.gz": "CONFIG_NF_CONNTRACK=m\nCONFIG_OPENVSWITCH=m\n"},
    "loaded": KPROBES | {"proc/modules": "nf_conntrack 1 0 - Live 0\nopenvswitch 1 0 - Live 0\n"},
    "nothing known": {},
    "locked": {"sys/kernel/security/lockdown": "[confidentiality]\n"},
}


@pytest.mark.parametrize("which", MACHINES)
def test_the_words_are_those_of_collect(
    tmp_path: Path, vmlinux: Btf, collectors: Made, which: str
) -> None:
    machine, types = host(tmp_path, MACHINES[which]), Types(vmlinux)
    for name, told in collectors(machine, types).items():
        if name == "nft":  # attaching its probe is tried too, see below
            continue
        assert told.reason == words_of_collect(name, machine, types)
        assert told.available == (told.reason is None)


def test_each_no(tmp_path: Path, vmlinux: Btf, collectors: Made) -> None:
    files = {"proc/config.gz": "CONFIG_NF_CONNTRACK=y\n# CONFIG_KPROBES is not set\n"}
    types = OtherTypes(vmlinux, {"skb_drop_reason": {}}, {})
    found = collectors(host(tmp_path, files), types)
    reasons = {name: told.reason for name, told in found.items() if told.reason}
    assert list(reasons) == ["skb-drop", "nft", "ovs"]
    assert "gives no drop reasons" in (reasons["skb-drop"] or "")
    assert "(CONFIG_KPROBES)" in (reasons["nft"] or "")
    assert "(CONFIG_OPENVSWITCH)" in (reasons["ovs"] or "")


def test_limits(tmp_path: Path, vmlinux: Btf, collectors: Made) -> None:
    files = {
        "proc/config.gz": "# CONFIG_KPROBES is not set\n",
        "proc/modules": "openvswitch 1 0 - Live 0x0\n",
    }
    types = OvsTypes(vmlinux, openvswitch(vmlinux))
    found = collectors(host(tmp_path, files), types)
    limits = {name: told.limits for name, told in found.items() if told.limits}
    assert list(limits) == ["skb-tracking", "ovs"]
    assert all("(CONFIG_KPROBES)" in (text or "") for text in limits.values())
    found = collectors(host(tmp_path / "other", files | KPROBES), types)
    assert not any(told.limits for told in found.values())


class NftTypes(Btf):
    """Types that know the function which the collector nft probes, and nothing else."""

    def __init__(self) -> None:
        pass

    def function(self, name: str) -> list[Argument] | None:
        assert name == "__nft_trace_packet"
        return [Argument("type", "enum nft_trace_types")]

    def module(self, name: str) -> None:
        return None


def reason_of_nft(machine: Host, *, attachable: bool = True) -> str | None:
    collector = next(c for c in all_collectors(CollectorOptions()) if c.name == "nft")
    types = Types(NftTypes())
    return reporting._own_reason(
        collector, Machine(machine, None, types, None), types, attachable=attachable
    )


NFT = KPROBES | {
    "proc/kallsyms": "ffffffff81000000 T ip_rcv\n"
    "ffffffffc0000000 t __nft_trace_packet\t[nf_tables]\n",
}


def test_a_probe_that_is_not_there(tmp_path: Path) -> None:
    """Its function is in the kernel's types, and the compiler has inlined it."""
    reason = reason_of_nft(host(tmp_path, KPROBES))
    assert reason == "no such function in this kernel: 'kprobe:__nft_trace_packet'"


def test_addresses_are_hidden(tmp_path: Path) -> None:
    hidden = {"proc/kallsyms": re.sub("^.{16}", "0" * 16, NFT["proc/kallsyms"], flags=re.M)}
    reason = reason_of_nft(host(tmp_path, NFT | hidden))
    assert reason is not None
    assert "CAP_SYSLOG" in reason


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EINVAL, "the kernel does not let this function be probed"),
        (errno.EPERM, "not permitted: run as root (or with CAP_BPF and CAP_PERFMON)"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_a_probe_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, words: str
) -> None:
    def attempt(address: int) -> None:
        assert address == 0xFFFFFFFFC0000000
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(trial, "probe_function", attempt)
    machine = host(tmp_path, NFT)
    assert reason_of_nft(machine) == f"cannot attach kprobe:__nft_trace_packet: {words}"
    # Where nothing may be attached anyway, that is not tried.
    assert reason_of_nft(machine, attachable=False) is None


def test_a_probe_that_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trial, "probe_function", lambda _: None)
    assert reason_of_nft(host(tmp_path, NFT)) is None


def test_without_privileges(tmp_path: Path, vmlinux: Btf, report: Callable[..., Report]) -> None:
    """All say what is in the way of all, and what else there is is told beside it."""
    machine = host(tmp_path, MACHINES["nothing loaded"], capabilities=bits())
    found = report(machine, Types(vmlinux))
    assert found.obstacle is not None
    assert found.obstacle.startswith("collecting needs privileges")
    assert {told.reason for told in found.collectors} == {found.obstacle}
    own = {told.name: told.own_reason for told in found.collectors}
    assert "module nf_conntrack is not loaded" in (own["ct"] or "")
    assert own["dev"] is None
    assert {privilege.name: held for privilege, held in found.privileges}["CAP_BPF"] is False


def test_without_types(tmp_path: Path, report: Callable[..., Report]) -> None:
    found = report(host(tmp_path, {}), None, "there is no BTF")
    assert {told.reason for told in found.collectors} == {found.obstacle} == {"there is no BTF"}


def test_without_bcc(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vmlinux: Btf,
    report: Callable[..., Report],
) -> None:
    """Which a collection notices after what is the collectors' own."""
    missing = NO_BCC.format(executable="/usr/bin/python3")
    monkeypatch.setattr(reporting, "find_bcc", lambda: Library("BCC", None, missing=missing))
    found = report(host(tmp_path, MACHINES["without modules"]), Types(vmlinux))
    assert found.obstacle == missing
    told = {each.name: each for each in found.collectors}
    assert (told["dev"].reason, told["dev"].own_reason) == (missing, None)
    assert told["ovs"].reason == told["ovs"].own_reason
    assert "collector ovs: " in (told["ovs"].reason or "")


def test_without_libbpf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is there all the same."""
    monkeypatch.setattr(libbpf, "LIBRARY", "libnone.so.1")
    libbpf.library.cache_clear()
    try:
        found = make_report(host(tmp_path, KPROBES))
    finally:
        libbpf.library.cache_clear()
    assert found.obstacle is not None
    assert found.obstacle.startswith("cannot load libnone.so.1")
    assert {told.reason for told in found.collectors} == {found.obstacle}
    features = {feature.name: feature for feature in found.features}
    for name in ("btf", "ring_buffer", "raw_tracepoints", "kprobe_multi"):
        assert (features[name].available, features[name].text[:26]) == (
            False,
            "cannot load libnone.so.1 (",
        )


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        ({}, [(None, "?"), (None, "?"), (None, "?")]),
        (
            {
                "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
                "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
                "proc/sys/net/core/bpf_jit_enable": "1\n",
            },
            [("integrity", "integrity"), (2, "off"), (1, "on")],
        ),
        (
            {
                "proc/config.gz": "# CONFIG_SECURITY_LOCKDOWN_LSM is not set\n",
                "proc/sys/kernel/unprivileged_bpf_disabled": "0\n",
                "proc/sys/net/core/bpf_jit_enable": "0\n",
            },
            [("none", "none"), (0, "on"), (0, "off")],
        ),
    ],
)
def test_settings(
    tmp_path: Path,
    report: Callable[..., Report],
    files: dict[str, str],
    settings: list[tuple[object, str]],
) -> None:
    found = report(host(tmp_path, files), None, "no types")
    assert [(s.value, s.shown) for s in found.settings] == settings


def test_a_setting_that_root_alone_can_read(tmp_path: Path, report: Callable[..., Report]) -> None:
    machine = host(tmp_path, {})
    (tmp_path / "proc/sys/net/core/bpf_jit_enable").mkdir(parents=True)  # reading it fails
    jit = report(machine, None, "no types").settings[2]
    assert (jit.value, jit.text) == (None, "net.core.bpf_jit_enable is for root only to read")


def test_this_machine() -> None:
    """The whole, as it is."""
    found = make_report(Host())
    assert (found.kernel_release, found.architecture) == (os.uname().release, os.uname().machine)
    assert {told.name for told in found.collectors if told.available} >= {"skb", "dev", "ns"}
