"""``retis inspect`` without options: what it says of this kernel is so, and ``collect`` agrees."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import cli
from lab.capabilities import CAPABILITIES
from lab.emulation import EMULATED, fast_machine_only
from lab.mounts import retis_after, retis_as_nobody, retis_in_user_namespace
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.kernel.kconf import KernelConfig

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("root", "btf")]

NAMES = [collector.name for collector in all_collectors(CollectorOptions())]
MODULES = {"ct": "nf_conntrack", "nft": "nf_tables", "ovs": "openvswitch"}
# Those that bring no probe of their own need one.
WITHOUT_PROBES = set(NAMES) - {"skb-drop", "nft", "ovs"}

LOCKED_DOWN = (
    "mount -t tmpfs none /sys/kernel/security &&"
    " echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown"
)

Told = dict[str, Any]


def report(run: Callable[..., cli.Result] = cli.retis) -> Told:
    result = run("inspect", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told: Told = json.loads(result.stdout)
    return told


def collect_arguments(name: str) -> list[str]:
    probe = ["-p", "tp:net:netif_rx"] if name in WITHOUT_PROBES else []
    return ["collect", "-c", name, *probe, "--cmd", "true"]


def error_of(result: cli.Result) -> str | None:
    """What a collection ended with, None where it ran."""
    if result.exit_code == 0:
        return None
    [error] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return error.removeprefix("Error: ")


def assert_agrees(name: str, told: Told, result: cli.Result) -> None:
    assert told["collectors"][name]["available"] == (result.exit_code == 0), result.stderr
    assert told["collectors"][name]["reason"] == error_of(result)


@pytest.fixture(scope="module")
def config() -> KernelConfig:
    return KernelConfig.find(None, os.uname().release)


def has(config: KernelConfig, *options: str) -> bool:
    return all(config.value(f"CONFIG_{option}") in ("y", "m") for option in options)


# What it says of this kernel


def test_features(config: KernelConfig) -> None:
    """Against what else there is to see of them."""
    assert config.source is not None
    told = report()
    available = {name: feature["available"] for name, feature in told["features"].items()}
    kprobes = CAPABILITIES["kprobes"]() is None
    assert available["kprobes"] == kprobes == has(config, "KPROBES", "KPROBE_EVENTS")
    assert available["kprobe_multi"] == (kprobes and has(config, "FPROBE"))
    for name, option in (("raw_tracepoints", "BPF_EVENTS"), ("uprobes", "UPROBE_EVENTS")):
        assert available[name] == has(config, option)
    assert available["btf"]
    assert available["ring_buffer"]
    assert available["kernel_symbols"]
    assert available["tracefs"] == os.access("/sys/kernel/tracing/available_events", os.R_OK)
    described = {path.name for path in Path("/sys/kernel/btf").iterdir()} - {"vmlinux"}
    assert set(told["features"]["btf"]["modules"]) == described
    assert told["kernel"] == {
        "release": os.uname().release,
        "version": os.uname().version,
        "architecture": os.uname().machine,
    }


def test_why_not(config: KernelConfig) -> None:
    """The option that a kernel was built without is named."""
    told = report()["features"]
    if not has(config, "KPROBES"):
        assert "CONFIG_KPROBES" in told["kprobes"]["text"]
        assert "raw tracepoints (tp:GROUP:NAME) work" in told["kprobes"]["text"]
    if not has(config, "FPROBE"):
        assert "CONFIG_FPROBE" in told["kprobe_multi"]["text"]


def test_settings_and_privileges() -> None:
    told = report()
    lockdown = Path("/sys/kernel/security/lockdown")
    shown = re.search(r"\[(\w+)\]", lockdown.read_text()) if lockdown.exists() else None
    assert told["settings"]["lockdown"]["value"] == (shown[1] if shown else None)
    for name, path in (
        ("unprivileged_bpf_disabled", "kernel/unprivileged_bpf_disabled"),
        ("bpf_jit_enable", "net/core/bpf_jit_enable"),
    ):
        assert told["settings"][name]["value"] == int(Path("/proc/sys", path).read_text())
    assert all(privilege["held"] for privilege in told["capabilities"].values())
    assert told["collect"] == {"available": True, "reason": None}
    assert told["libraries"]["libbpf"]["version"].startswith("1.")


@fast_machine_only
def test_version_of_bcc() -> None:
    command = [sys.executable, "-c", "import bcc; print(bcc.__version__)"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert report()["libraries"]["bcc"] == {"available": True, "version": version, "text": None}


def test_text() -> None:
    """One screen, in which every feature and collector has its row."""
    result = cli.retis("inspect", environment={"COLUMNS": "120"})
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    told = report()
    assert os.uname().release in lines[0]
    for name, collector in told["collectors"].items():
        answer = "yes" if collector["available"] else "no"
        assert re.search(rf"^  {name} +{answer} +\S", result.stdout, re.MULTILINE)
    for title, name in (("kprobes", "kprobes"), ("kprobe.multi", "kprobe_multi")):
        answer = "yes" if told["features"][name]["available"] else "no"
        assert re.search(rf"^  {re.escape(title)} +{answer}\b", result.stdout, re.MULTILINE)


# What collect says


@fast_machine_only
@pytest.mark.parametrize("name", NAMES)
def test_a_collector_can_run_exactly_where_collect_starts(name: str) -> None:
    told = report()
    assert_agrees(name, told, cli.retis(*collect_arguments(name)))
    if name not in MODULES:
        assert told["collectors"][name]["available"]


def assert_agrees_of_all(told: Told) -> None:
    """Those that can run do so together, which starts as many compilers as one."""
    can_run = [name for name, each in told["collectors"].items() if each["available"]]
    probe = ["-p", "tp:net:netif_rx", "--cmd", "true"]
    result = cli.retis("collect", "-c", ",".join(can_run), *probe)
    assert result.exit_code == 0, result.stderr
    for name in set(NAMES) - set(can_run):
        assert_agrees(name, told, cli.retis(*collect_arguments(name)))


def test_collectors_as_the_machine_is() -> None:
    assert_agrees_of_all(report())


@pytest.mark.usefixtures("modules")
def test_collectors_once_their_modules_are_loaded(config: KernelConfig) -> None:
    for module in MODULES.values():
        subprocess.run(["modprobe", module], check=True)
    told = report()
    assert set(MODULES.values()) <= set(told["features"]["btf"]["modules"])
    for name in MODULES:
        assert told["collectors"][name]["available"] == (name != "nft" or has(config, "KPROBES"))
    assert_agrees_of_all(told)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("name", ["ct", "ovs"])
def test_collectors_of_modules_that_are_not_loaded(name: str) -> None:
    hidden = "mount --bind /dev/null /proc/modules"
    told = report(lambda *arguments: retis_after(hidden, *arguments))
    assert f"modprobe {MODULES[name]}" in told["collectors"][name]["reason"]
    assert_agrees(name, told, retis_after(hidden, *collect_arguments(name)))


def test_kernel_without_modules() -> None:
    if CAPABILITIES["modules"]() is None:
        pytest.skip("the kernel loads modules")
    told = report()["collectors"]
    if not told["ovs"]["available"]:
        assert "CONFIG_OPENVSWITCH" in told["ovs"]["reason"]
    if CAPABILITIES["kprobes"]() is not None:
        assert "CONFIG_KPROBES" in told["nft"]["reason"]
        assert "CONFIG_KPROBES" in told["skb-tracking"]["limits"]


# Who may not


def test_without_privileges() -> None:
    """What can be seen is told, what cannot is said, and collectors say what collect does."""
    told = report(retis_as_nobody)
    assert told["collect"]["available"] is False
    refused = error_of(retis_as_nobody(*collect_arguments("dev")))
    assert "CAP_BPF" in (refused or "")
    assert {each["reason"] for each in told["collectors"].values()} == {refused}
    assert not any(privilege["held"] for privilege in told["capabilities"].values())
    features = told["features"]
    assert features["btf"]["available"]
    assert features["ring_buffer"]["available"] is features["raw_tracepoints"]["available"] is None
    assert "CAP_BPF" in features["ring_buffer"]["text"]
    assert features["kprobes"]["available"] == (
        None if CAPABILITIES["kprobes"]() is None else False
    )
    text = retis_as_nobody("inspect")
    assert text.exit_code == 0
    assert "missing: CAP_BPF (" in text.stdout
    assert "Nothing can be collected: collecting needs privileges" in text.stdout


def test_in_a_user_namespace() -> None:
    """All capabilities are there, and none is of any use."""
    told = report(retis_in_user_namespace)
    assert all(privilege["held"] for privilege in told["capabilities"].values())
    assert told["features"]["raw_tracepoints"]["available"] is False
    assert "not permitted" in told["features"]["raw_tracepoints"]["text"]
    assert "not in a user namespace" in told["collect"]["reason"]
    assert_agrees("dev", told, retis_in_user_namespace(*collect_arguments("dev")))


def test_with_the_needed_capabilities_alone() -> None:
    """As another user: kprobes need the addresses of functions, which are hidden from it."""
    needed = "+bpf,+perfmon"

    def run(*arguments: str) -> cli.Result:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        command += [f"--inh-caps={needed}", f"--ambient-caps={needed}"]
        done = subprocess.run(
            [*command, sys.executable, "-m", "retis_py", *arguments],
            capture_output=True,
            text=True,
            timeout=cli.TIME_LIMIT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return cli.Result(done.returncode, done.stdout, done.stderr)

    told = report(run)
    held = {name for name, privilege in told["capabilities"].items() if privilege["held"]}
    assert held == {"CAP_BPF", "CAP_PERFMON"}
    assert told["collect"] == {"available": True, "reason": None}
    for name in ("raw_tracepoints", "ring_buffer"):
        assert told["features"][name]["available"], told["features"][name]
    # Kernels differ in whether CAP_PERFMON is enough for it.
    uprobes = told["features"]["uprobes"]
    assert uprobes["available"] or "CAP_SYS_ADMIN is needed" in uprobes["text"]
    if not told["features"]["kernel_symbols"]["available"]:
        assert told["features"]["kprobes"]["available"] is False
    if not EMULATED:  # where compiling takes its time
        assert_agrees("skb-drop", told, run(*collect_arguments("skb-drop")))


# Machines that lack something


@fast_machine_only
@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ("mount -t tmpfs none /sys/kernel/btf", "CONFIG_DEBUG_INFO_BTF"),
        (LOCKED_DOWN, "locked down (confidentiality)"),
    ],
    ids=["btf", "lockdown"],
)
def test_nothing_can_be_collected(setup: str, words: str) -> None:
    told = report(lambda *arguments: retis_after(setup, *arguments))
    assert words in told["collect"]["reason"]
    assert_agrees("dev", told, retis_after(setup, *collect_arguments("dev")))


@fast_machine_only
def test_another_package_that_is_called_bcc(tmp_path: Path) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").write_text("")
    environment = {
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),  # what is compiled already needs no bcc
    }
    told = report(lambda *arguments: cli.retis(*arguments, environment=environment))
    assert "apt-get install python3-bpfcc" in told["libraries"]["bcc"]["text"]
    assert_agrees("dev", told, cli.retis(*collect_arguments("dev"), environment=environment))


@fast_machine_only
def test_bcc_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/libbcc.py").touch()
    (tmp_path / "bcc/__init__.py").write_text("raise SystemExit('bcc was imported')\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    told = report(lambda *arguments: cli.retis(*arguments, environment=environment))
    assert told["libraries"]["bcc"]["available"]
    assert "version.py" in told["libraries"]["bcc"]["text"]


# Nothing is changed, and nothing reaches the terminal


def test_tracefs_is_not_mounted_by_looking(tmp_path: Path) -> None:
    """Whoever looks into debugfs has the kernel mount tracefs there."""
    setup = (
        "umount -l /sys/kernel/debug/tracing; umount -l /sys/kernel/tracing;"
        " umount -l /sys/kernel/debug; mount -t debugfs none /sys/kernel/debug"
    )
    then = f"grep -c tracefs /proc/self/mounts > {tmp_path}/count || true"
    result = retis_after(setup, "inspect", "--json", then=then)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "count").read_text() == "0\n"
    told = json.loads(result.stdout)["features"]["tracefs"]
    assert (told["available"], told["path"]) == (False, None)
    assert "--allow-system-changes" in told["text"]


def test_nothing_is_left() -> None:
    modules, mounts = Path("/proc/modules"), Path("/proc/self/mounts")
    before = modules.read_text() if modules.exists() else "", mounts.read_text()
    for _ in range(3):
        report()
    assert (modules.read_text() if modules.exists() else "", mounts.read_text()) == before
    for events in ("kprobe_events", "uprobe_events"):
        path = Path("/sys/kernel/tracing", events)
        if path.exists():
            assert "retis" not in path.read_text()


@fast_machine_only
def test_names_of_others_are_escaped(tmp_path: Path) -> None:
    point = tmp_path / "\x1b[31mred"
    point.mkdir()
    setup = f"umount -lq /sys/kernel/tracing; mount -t tracefs none '{point}'"
    result = retis_after(setup, "inspect")
    assert result.exit_code == 0, result.stderr
    assert "\\x1b[31mred" in result.stdout
    assert "\x1b" not in result.stdout
    told = report(lambda *arguments: retis_after(setup, *arguments))["features"]["tracefs"]
    assert (told["available"], told["path"]) == (True, str(point))


@fast_machine_only
def test_an_unusable_configuration() -> None:
    result = cli.retis("--kconf", "/etc/hostname", "inspect")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"Error: cannot use '/etc/hostname' as .*\n", result.stderr)
