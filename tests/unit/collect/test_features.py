"""Each feature's yes, no and unknown, with the reason, on machines that are not this one."""

import errno
import os
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect import trial
from retis_py.collect.features import Feature, Machine, features_of
from retis_py.errors import MissingPrerequisite
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from unit.collect.made_up_host import KPROBES, bits, host

TRIALS = (
    "make_ring",
    "load_program",
    "attach_raw_tracepoint",
    "probe_function",
    "probe_functions_at_once",
    "probe_user_space",
)


class WithoutRing(Btf):
    """Types of a kernel before 5.8."""

    def __init__(self) -> None:
        pass

    def enum(self, name: str) -> dict[str, int] | None:
        return {"BPF_MAP_TYPE_HASH": 1} if name == "bpf_map_type" else None


class NoTypes(WithoutRing):
    def enum(self, name: str) -> None:
        return None


def features(machine: Host, btf: Btf | None = None) -> dict[str, Feature]:
    found = features_of(Machine(machine, None, Types(btf or NoTypes()), None))
    assert all("\n" not in feature.text for feature in found)
    return {feature.name: feature for feature in found}


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that refuses nothing."""
    for name in TRIALS:
        monkeypatch.setattr(trial, name, lambda *_: None)


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    def attempt(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(trial, name, attempt)


def test_a_kernel_with_everything(tmp_path: Path, allowed: None) -> None:
    found = features(host(tmp_path, KPROBES))
    unavailable = {name for name, feature in found.items() if not feature.available}
    assert unavailable == {"tracefs"}
    assert list(found) == [
        "btf",
        "kprobes",
        "kprobe_multi",
        "raw_tracepoints",
        "uprobes",
        "ring_buffer",
        "kernel_symbols",
        "tracefs",
    ]


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("KPROBES", "kprobes", "built without kprobes (CONFIG_KPROBES); raw tracepoints"),
        ("KPROBES", "kprobe_multi", "of no use without kprobes"),
        ("FPROBE", "kprobe_multi", "(CONFIG_FPROBE): functions are probed one by one"),
        ("BPF_EVENTS", "raw_tracepoints", "(CONFIG_BPF_EVENTS)"),
        ("UPROBE_EVENTS", "uprobes", "(CONFIG_UPROBE_EVENTS): ovs-vswitchd cannot be probed"),
    ],
)
def test_not_built(tmp_path: Path, allowed: None, option: str, name: str, words: str) -> None:
    config = KPROBES["proc/config.gz"].replace(f"CONFIG_{option}=y\n", "")
    found = features(host(tmp_path, KPROBES | {"proc/config.gz": config}))[name]
    assert not found.available
    assert words in found.text


def test_nothing_is_known_of_what_is_of_no_use(tmp_path: Path, allowed: None) -> None:
    files = {name: text for name, text in KPROBES.items() if "kprobe" not in name}
    found = features(host(tmp_path, files))
    assert found["kprobes"].available is False
    assert found["kprobe_multi"].available is None


@pytest.mark.parametrize(
    ("attempt", "name", "words"),
    [
        ("probe_function", "kprobes", "the kernel refuses it (Operation not permitted)"),
        (
            "probe_functions_at_once",
            "kprobe_multi",
            "the kernel refuses it (Operation not permitted): functions are probed one by one",
        ),
        ("attach_raw_tracepoint", "raw_tracepoints", "the kernel refuses it"),
        ("probe_user_space", "uprobes", "not permitted: CAP_SYS_ADMIN is needed); ovs-vswitchd"),
        ("make_ring", "ring_buffer", "does not let this process make BPF maps although"),
    ],
)
@pytest.mark.usefixtures("allowed")
def test_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: str, name: str, words: str
) -> None:
    refuse(monkeypatch, attempt, errno.EPERM)
    found = features(host(tmp_path, KPROBES))
    assert [n for n, f in found.items() if f.available is False] == [
        n for n in found if n in (name, "tracefs")
    ]
    assert words in found[name].text


def test_without_privileges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried, and what the configuration denies is denied all the same."""
    for name in TRIALS:
        monkeypatch.setattr(trial, name, lambda *_: pytest.fail("tried"))
    config = KPROBES["proc/config.gz"].replace("CONFIG_FPROBE=y\n", "")
    files = KPROBES | {"proc/config.gz": config}
    found = features(host(tmp_path, files, capabilities=bits()))
    for name in ("kprobes", "raw_tracepoints", "uprobes", "ring_buffer"):
        assert (found[name].available, found[name].text) == (
            None,
            "not tried, which needs CAP_BPF and CAP_PERFMON",
        )
    assert found["kprobe_multi"].available is False


def test_ring_buffer_by_the_kernels_types(tmp_path: Path) -> None:
    found = features(host(tmp_path, {}, capabilities=bits()), WithoutRing())["ring_buffer"]
    assert found.available is False
    assert "Linux 5.8" in found.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0000000000000000 T ip_rcv\n", "hides the addresses in "),
        ("0000000000000000 D tcp_prot\n", "lists no kernel function"),
        (None, "cannot read the kernel's symbols"),
    ],
)
def test_symbols(tmp_path: Path, text: str | None, words: str) -> None:
    files = {"proc/kallsyms": text} if text else {}
    found = features(host(tmp_path, files, capabilities=bits()))["kernel_symbols"]
    assert found.available is False
    assert words in found.text


def test_kprobes_need_addresses(tmp_path: Path, allowed: None) -> None:
    files = KPROBES | {"proc/kallsyms": "0000000000000000 T bpf_fentry_test1\n"}
    found = features(host(tmp_path, files))["kprobes"]
    assert found.available is False
    assert "CAP_SYSLOG" in found.text


@pytest.mark.parametrize(
    ("loaded", "described", "text"),
    [
        ([], [], "vmlinux; no module is loaded"),
        (["nsh"], ["nsh"], "vmlinux and 1 module"),
        (
            ["nsh", "nf_tables", "nf_conntrack"],
            ["nsh", "nf_tables", "nf_conntrack"],
            "vmlinux and 3 modules, nf_conntrack, nf_tables among them",
        ),
        (["nsh"], [], "vmlinux"),
        (
            ["openvswitch", "nsh"],
            ["nsh"],
            "vmlinux and 1 module; none of openvswitch: CONFIG_DEBUG_INFO_BTF_MODULES is needed",
        ),
    ],
)
def test_btf(tmp_path: Path, loaded: list[str], described: list[str], text: str) -> None:
    files = {f"sys/kernel/btf/{name}": "" for name in [*described, "vmlinux"]}
    files["proc/modules"] = "".join(f"{name} 1 0 - Live 0x0\n" for name in loaded)
    found = features(host(tmp_path, files, capabilities=bits()))["btf"]
    assert (found.available, found.text) == (True, text)
    assert found.facts == {
        "modules": sorted(described),
        "modules_without": sorted(set(loaded) - set(described)),
    }


def test_no_btf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Btf:
        raise MissingPrerequisite("the kernel's type information cannot be loaded")

    monkeypatch.setattr(Btf, "vmlinux", missing)
    machine = Machine.of(host(tmp_path, {}, capabilities=bits()))
    [found] = [feature for feature in features_of(machine) if feature.name == "btf"]
    assert (found.available, found.text) == (
        False,
        "the kernel's type information cannot be loaded",
    )


@pytest.mark.parametrize(
    ("files", "available", "words"),
    [
        ([], False, "for this user"),
        (["available_events"], True, "its list of functions cannot be read"),
        (["available_events", "available_filter_functions"], True, "at "),
    ],
)
def test_tracefs(tmp_path: Path, files: list[str], available: bool, words: str) -> None:
    require("btf")
    there = {f"mnt/tracing/{name}": "x\n" for name in files}
    mounts = {"proc/self/mounts": "none /mnt/tracing tracefs rw 0 0\n"}
    machine = Machine.of(host(tmp_path, there | mounts, capabilities=bits()))
    [found] = [feature for feature in features_of(machine) if feature.name == "tracefs"]
    assert found.available is available
    assert words in found.text
    assert str(found.facts["path"]).endswith("/mnt/tracing")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("# CONFIG_FTRACE is not set\n", "built without it (CONFIG_FTRACE)"),
        ("CONFIG_FTRACE=y\n", "--allow-system-changes"),
    ],
)
def test_no_tracefs(tmp_path: Path, config: str, words: str) -> None:
    found = features(host(tmp_path, {"proc/config.gz": config}, capabilities=bits()))["tracefs"]
    assert (found.available, found.facts) == (False, {"path": None})
    assert words in found.text
