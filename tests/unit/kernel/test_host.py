import os
import time
from pathlib import Path

import pytest

from retis_py.errors import UsageError
from retis_py.kernel.host import Host, Lockdown, ModuleState, clock_monotonic_offset


def make(root: Path, files: dict[str, str]) -> Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Host(root)


KPROBES = {
    "proc/config.gz": "CONFIG_KPROBES=y\nCONFIG_KPROBE_EVENTS=y\n",
    "sys/bus/event_source/devices/kprobe/type": "8\n",
}


def test_machine_is_uname() -> None:
    assert tuple(Host().machine) == (os.uname().release, os.uname().version, os.uname().machine)


def test_clock_offset() -> None:
    low = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    offset = clock_monotonic_offset()
    assert 0 <= offset.nsec < 10**9
    assert abs(offset.sec * 10**9 + offset.nsec - low) < 50_000_000


def test_clock_offset_before_the_epoch_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = {time.CLOCK_MONOTONIC: 2_500_000_000, time.CLOCK_REALTIME: 1_000_000_000}
    monkeypatch.setattr(time, "clock_gettime_ns", readings.__getitem__)
    assert clock_monotonic_offset() == (-2, 500_000_000)


def test_the_closest_reading_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # An interrupted reading of 1 ms among readings of 100 ns.
    monotonic, calls = 10**9, 0

    def read(clock: int) -> int:
        nonlocal monotonic, calls
        calls += 1
        monotonic += 1_000_000 if calls in {2, 3} else 50
        return monotonic if clock == time.CLOCK_MONOTONIC else monotonic + 7 * 10**9

    monkeypatch.setattr(time, "clock_gettime_ns", read)
    assert clock_monotonic_offset() == (7, 0)


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("0000000000000000", set()),
        ("0000000000000001", {"CAP_CHOWN"}),
        ("000001c000201000", {"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF",
                              "CAP_CHECKPOINT_RESTORE"}),
        ("0000040000000000", {"CAP_42"}),
    ],
)  # fmt: skip
def test_capabilities(tmp_path: Path, mask: str, names: set[str]) -> None:
    host = make(tmp_path, {"proc/self/status": f"Name:\tx\nCapPrm:\tffff\nCapEff:\t{mask}\n"})
    assert host.capabilities == names


def test_no_status_is_no_capability(tmp_path: Path) -> None:
    assert Host(tmp_path).capabilities == frozenset()


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("[none] integrity confidentiality\n", Lockdown.NONE),
        ("none [integrity] confidentiality\n", Lockdown.INTEGRITY),
        ("none integrity [confidentiality]\n", Lockdown.CONFIDENTIALITY),
        ("[novel]\n", Lockdown.NONE),
        ("", Lockdown.NONE),
    ],
)
def test_lockdown(tmp_path: Path, text: str, state: Lockdown) -> None:
    assert make(tmp_path, {"sys/kernel/security/lockdown": text}).lockdown is state


@pytest.mark.parametrize(
    ("files", "unknown"),
    [
        ({}, True),
        ({"sys/kernel/security/lsm": "capability\n"}, False),  # securityfs, and no lockdown in it
        ({"sys/kernel/security/lockdown": "[none] integrity\n"}, False),
        ({"proc/config.gz": "# CONFIG_SECURITY_LOCKDOWN_LSM is not set\n"}, False),
        ({"proc/config.gz": "CONFIG_SECURITY_LOCKDOWN_LSM=y\n"}, True),
    ],
)
def test_whether_lockdown_can_be_seen(tmp_path: Path, files: dict[str, str], unknown: bool) -> None:
    assert make(tmp_path, files).lockdown_unknown is unknown


@pytest.mark.parametrize(
    ("text", "value"), [("1\n", 1), ("-1\n", -1), ("", None), ("many\n", None), ("1 2\n", None)]
)
def test_sysctl(tmp_path: Path, text: str, value: int | None) -> None:
    host = make(tmp_path, {"proc/sys/net/core/bpf_jit_enable": text})
    assert host.sysctl("net.core.bpf_jit_enable") == value
    assert host.sysctl("kernel.none") is None


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({}, ModuleState.NOT_LOADED),
        ({"proc/modules": "sctp 450560 4 - Live 0x0\n"}, ModuleState.IN_KERNEL),
        ({"proc/config.gz": "CONFIG_IP_SCTP=y\n"}, ModuleState.IN_KERNEL),
        ({"proc/config.gz": "# CONFIG_IP_SCTP is not set\n"}, ModuleState.NOT_BUILT),
        ({"proc/config.gz": "CONFIG_IP_SCTP=m\n"}, ModuleState.NOT_LOADED),
        ({"modules.dep": "kernel/net/sctp/sctp.ko:\n"}, ModuleState.NOT_LOADED),
        ({"modules.dep": "kernel/net/dccp.ko:\n"}, ModuleState.NOT_INSTALLED),
        # One's own build of what the distribution left out.
        (
            {
                "proc/config.gz": "# CONFIG_IP_SCTP is not set\n",
                "proc/modules": "sctp 450560 4 - Live 0x0 (OE)\n",
            },
            ModuleState.IN_KERNEL,
        ),
    ],
)
def test_where_a_module_is(tmp_path: Path, files: dict[str, str], state: ModuleState) -> None:
    folder = f"lib/modules/{os.uname().release}"
    placed = {f"{folder}/{n}" if n == "modules.dep" else n: text for n, text in files.items()}
    assert make(tmp_path, placed).module_state("sctp", "CONFIG_IP_SCTP") is state


def test_kprobes_work(tmp_path: Path) -> None:
    assert make(tmp_path, KPROBES).kprobes_unavailable is None
    assert make(tmp_path, {"sys/kernel/debug/kprobes/enabled": "1\n"}).kprobes_unavailable is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"proc/config.gz": "# CONFIG_KPROBES is not set\n"}, "CONFIG_KPROBES)"),
        ({"proc/config.gz": "CONFIG_KPROBES=y\n"}, "CONFIG_KPROBE_EVENTS"),
        ({"sys/kernel/debug/kprobes/enabled": "0\n"}, "switched off"),
        ({"sys/kernel/security/lockdown": "none integrity [confidentiality]"}, "locked down"),
    ],
)
def test_why_kprobes_do_not_work(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    assert reason in (make(tmp_path, KPROBES | change).kprobes_unavailable or "")


def test_no_event_source_is_no_kprobes(tmp_path: Path) -> None:
    assert "perf event source" in (Host(tmp_path).kprobes_unavailable or "")


def test_an_unusable_kconf_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        _ = Host(kconf=tmp_path / "none").kprobes_unavailable


@pytest.mark.parametrize(
    ("text", "count"),
    [("0\n", 1), ("0-1\n", 2), ("0-3,8-11\n", 8), ("0,2,4-5\n", 4), ("0-127\n", 128)],
)
def test_possible_cpus(tmp_path: Path, text: str, count: int) -> None:
    assert make(tmp_path, {"sys/devices/system/cpu/possible": text}).possible_cpus == count


def test_this_machine() -> None:
    host = Host()
    assert len(host.online_cpu_numbers) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert host.possible_cpus >= len(host.online_cpu_numbers)
    assert host.is_root == (os.geteuid() == 0)
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    assert len(host.capabilities) == effective.bit_count()
    perf_event_source = Path("/sys/bus/event_source/devices/kprobe").exists()
    assert perf_event_source or host.kprobes_unavailable
    assert host.symbols.resolve(0) == "0x0"
    assert host.kallsyms.count("tcp_v4_rcv") == 1
    with host.tracefs(allow_system_changes=False) as tracefs:
        assert (tracefs is None) != Path("/sys/kernel/tracing/available_events").exists()
