"""``retis inspect -p``: what it lists is what ``retis collect -p`` takes, on every kernel."""

import os
import re
from pathlib import Path

import pytest

from lab import cli
from lab.emulation import fast_machine_only
from lab.mounts import retis_as_nobody

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("btf")]

KFREE_SKB = re.compile(
    r"raw_tracepoint:skb:kfree_skb +skb(, drop reason)?(, socket)?\n"
    r"    struct sk_buff \*skb +skb\n"
    r"    void \*location\n"
    r"(    enum skb_drop_reason reason +drop reason\n)?"
)


def listed(*arguments: str) -> list[str]:
    result = cli.retis("inspect", *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.usefixtures("root")
def test_tracepoints() -> None:
    result = cli.retis("inspect", "-p", "tp:skb:*", "-v", "--allow-system-changes")
    assert result.exit_code == 0, result.stderr
    assert KFREE_SKB.search(result.stdout)
    assert "[WARN]" not in result.stderr
    probes = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert re.search(rf"\] {len(probes)} probe\(s\), {len(probes)} with a packet\n", result.stderr)


@pytest.mark.usefixtures("root", "kprobes", "tracefs")
def test_functions() -> None:
    lines = listed("-p", "ip_rcv", "-p", "kr:tcp_v4_rcv", "-v")
    assert lines[0].split() == ["kprobe:ip_rcv", "skb,", "device"]
    assert lines[1].split() == ["struct", "sk_buff", "*skb", "skb"]
    assert lines[2].split() == ["struct", "net_device", "*dev", "device"]
    assert "kretprobe:tcp_v4_rcv" in [line.split()[0] for line in lines]
    several = [line.split()[0] for line in listed("-p", "tcp_v4_d*")]
    assert "kprobe:tcp_v4_do_rcv" in several
    assert several == sorted(several)
    refused = cli.retis("inspect", "-p", "tcp_v4_recv")
    assert refused.exit_code == 2
    assert "did you mean 'tcp_v4_rcv'" in refused.stderr


@pytest.mark.usefixtures("root")
def test_kernel_without_kprobes() -> None:
    if Path("/sys/bus/event_source/devices/kprobe").exists():
        pytest.skip("the kernel has kprobes")
    result = cli.retis("inspect", "-p", "--allow-system-changes")
    assert result.exit_code == 0
    assert "[WARN] no functions are listed: this kernel is built without" in result.stderr
    assert len(result.stdout.splitlines()) > 500
    assert {line.split(":")[0] for line in result.stdout.splitlines()} == {"raw_tracepoint"}
    refused = cli.retis("inspect", "-p", "ip_rcv")
    assert refused.exit_code == 1
    assert re.fullmatch(r"Error: 'kprobe:ip_rcv' cannot be probed: .*\n", refused.stderr)


@fast_machine_only
@pytest.mark.usefixtures("root")
def test_without_root() -> None:
    result = retis_as_nobody("inspect", "-p", "tp:*:kfree_skb")
    assert result.exit_code == 0
    assert result.stdout.startswith("raw_tracepoint:?:kfree_skb ")
    [warning] = [line for line in result.stderr.splitlines() if "[WARN]" in line]
    assert "which groups tracepoints belong to (shown as ?)" in warning
    assert "for root only: try with sudo" in warning


@fast_machine_only
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-v",), "--verbose and --allow-system-changes are about --probe: give -p too"),
        (("--allow-system-changes",), "are about --probe"),
        (("--json", "-p", "ip_rcv"), "--json is about the report of the machine"),
        (("-p", "x:y:z"), "unknown type 'x'"),
        (("-p", "tp:net:netif_rxx"), "did you mean '"),
        (("-p", "tp:\x1b[31m:x"), "plain ASCII"),
    ],
)
def test_nonsense(arguments: tuple[str, ...], message: str) -> None:
    result = cli.retis("inspect", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert re.fullmatch(r"Error: [\x20-\x7e]+\n", result.stderr)


@fast_machine_only
def test_nothing_is_loaded(tmp_path: Path) -> None:
    """It works where bcc is not installed, which only collecting needs."""
    (tmp_path / "bcc.py").write_text("raise SystemExit('bcc was imported')\n")
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    result = cli.retis("inspect", "-p", "net:netif_rx", environment={"PYTHONPATH": path})
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("raw_tracepoint:net:netif_rx ")
