import os
import subprocess
import sys
from pathlib import Path

import pytest

from retis_py.kernel.tracefs import Tracefs

FILES = {
    "available_events": (
        "skb:kfree_skb\nsyscalls:sys_enter_read\nraw_syscalls:sys_enter\nnet:netif_rx\n"
        "kprobes:p_tcp_v4_rcv_0\nuprobes:p_bash\nbridge:br_fdb_add\n"
    ),
    "available_filter_functions": (
        "tcp_v4_rcv\n__ftrace_invalid_address___1234\novs_dp_upcall [openvswitch]\n"
        "init_once\ninit_once [nf_nat]\n"
    ),
}
BLACKLIST = (
    "0xffffffff81000000-0xffffffff81000040\t__do_softirq\n"
    "0xffffffffc0200000-0xffffffffc0200010\tnoinstr_thing [kvm]\n"
)
TRACING = "sys/kernel/tracing"

needs_mount = pytest.mark.skipif(
    os.geteuid() != 0 or "tracefs" not in Path("/proc/filesystems").read_text(),
    reason="tracefs: root and a kernel with tracefs are needed",
)


def make(root: Path, where: str, mounts: str) -> None:
    for name, text in FILES.items():
        (root / where / name).parent.mkdir(parents=True, exist_ok=True)
        (root / where / name).write_text(text)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mounts").write_text(mounts)


def test_tracepoints(tmp_path: Path) -> None:
    make(tmp_path, TRACING, "")
    tracefs = Tracefs.find(tmp_path)
    assert tracefs is not None
    assert tracefs.tracepoints() == [
        "bridge:br_fdb_add",
        "net:netif_rx",
        "raw_syscalls:sys_enter",
        "skb:kfree_skb",
    ]


def test_traceable_functions(tmp_path: Path) -> None:
    make(tmp_path, TRACING, "")
    tracefs = Tracefs.find(tmp_path)
    assert tracefs is not None
    assert tracefs.traceable_functions() == {"tcp_v4_rcv", "ovs_dp_upcall", "init_once"}
    (tmp_path / TRACING / "available_filter_functions").unlink()
    assert tracefs.traceable_functions() is None


def test_debugfs_and_its_blacklist(tmp_path: Path) -> None:
    make(tmp_path, "sys/kernel/debug/tracing", "debugfs /sys/kernel/debug debugfs rw 0 0\n")
    (tmp_path / "sys/kernel/debug/kprobes").mkdir()
    (tmp_path / "sys/kernel/debug/kprobes/blacklist").write_text(BLACKLIST)
    tracefs = Tracefs.find(tmp_path)
    assert tracefs is not None
    assert tracefs.path == tmp_path / "sys/kernel/debug/tracing"
    assert tracefs.kprobe_blacklist() == {"__do_softirq", "noinstr_thing"}


def test_mounted_elsewhere_with_a_blank_in_its_path(tmp_path: Path) -> None:
    make(
        tmp_path,
        "mnt/my traces",
        "broken\nx relative tracefs\nnone /mnt/my\\040traces tracefs rw 0 0\n",
    )
    tracefs = Tracefs.find(tmp_path)
    assert tracefs is not None
    assert tracefs.path == tmp_path / "mnt/my traces"
    assert tracefs.kprobe_blacklist() == frozenset()


def test_none_and_not_allowed_is_none(tmp_path: Path) -> None:
    assert Tracefs.find(tmp_path) is None
    with Tracefs.mounted(allow_system_changes=False, root=tmp_path) as tracefs:
        assert tracefs is None


def test_a_mount_that_fails_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Tracefs.mounted(allow_system_changes=True, root=tmp_path) as tracefs:
        assert tracefs is None
    assert "cannot mount tracefs" in caplog.text


def in_private_mounts(script: str) -> str:
    """Run Python where mounts end with it, without any tracefs to begin with."""
    preamble = """
import contextlib, subprocess
from pathlib import Path
from retis_py.kernel.tracefs import Tracefs
POINT = "/sys/kernel/tracing"
for place in (POINT, "/sys/kernel/debug/tracing", "/sys/kernel/debug"):
    while subprocess.run(["umount", "-l", place], stderr=subprocess.DEVNULL).returncode == 0:
        pass
def mounts():
    lines = map(str.split, Path("/proc/self/mounts").read_text().splitlines())
    return [f[0] for f in lines if f[2] == "tracefs"]
"""
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", sys.executable, "-c", preamble + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_mount
def test_mounted_and_unmounted() -> None:
    out = in_private_mounts("""
import os
with Tracefs.mounted(True) as tracefs:
    assert mounts() == [f"retis-{os.getpid()}"], mounts()
    points = tracefs.tracepoints()
    assert "skb:kfree_skb" in points and "raw_syscalls:sys_enter" in points
    assert not any(p.startswith("syscalls:") for p in points)
    functions = tracefs.traceable_functions()
    assert functions is None or "ip_rcv" in functions
assert mounts() == []
print(len(points))
""")
    assert int(out) > 100


@needs_mount
def test_unmounted_on_errors_and_while_busy() -> None:
    in_private_mounts("""
with contextlib.suppress(ZeroDivisionError), Tracefs.mounted(True) as tracefs:
    held = (tracefs.path / "available_events").open()
    1 / 0
assert mounts() == []
""")


@needs_mount
@pytest.mark.parametrize("allowed", [True, False])
def test_somebody_elses_mount_stays(allowed: bool) -> None:
    in_private_mounts(f"""
subprocess.run(["mount", "-t", "tracefs", "tracefs", POINT], check=True)
with Tracefs.mounted({allowed}) as tracefs:
    assert tracefs.path == Path(POINT)
    assert "skb:kfree_skb" in tracefs.tracepoints()
assert mounts() == ["tracefs"]
""")


@needs_mount
def test_what_a_crash_left_is_used_and_undone() -> None:
    in_private_mounts("""
crashed = subprocess.Popen(["true"])
crashed.wait()
subprocess.run(["mount", "-t", "tracefs", f"retis-{crashed.pid}", POINT], check=True)
with Tracefs.mounted(False) as tracefs:
    assert tracefs.path == Path(POINT)
assert mounts() == []
""")


@needs_mount
def test_a_mount_of_a_running_retis_stays() -> None:
    in_private_mounts("""
running = subprocess.Popen(["sleep", "30"])
subprocess.run(["mount", "-t", "tracefs", f"retis-{running.pid}", POINT], check=True)
with Tracefs.mounted(True):
    pass
assert mounts() == [f"retis-{running.pid}"]
running.kill()
""")


@needs_mount
def test_not_allowed_mounts_nothing() -> None:
    in_private_mounts("""
with Tracefs.mounted(False) as tracefs:
    assert tracefs is None and mounts() == []
""")


def test_where_it_is_mounted(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere", "")
    assert Tracefs.mount_points(tmp_path) == []
    (tmp_path / "proc/self/mounts").write_text(
        "debugfs /sys/kernel/debug debugfs rw 0 0\nx relative tracefs\n"
        "none /mnt/my\\040traces tracefs rw 0 0\n"
    )
    assert Tracefs.mount_points(tmp_path) == [Path("/mnt/my traces")]
