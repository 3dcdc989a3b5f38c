"""``retis print`` as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from retis_py.cli.main import cli

pytestmark = pytest.mark.usefixtures("ways")

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"

EVIL = "\x1b]0;owned\x07\u202e\n"


def retis_print(
    *arguments: str | Path, cwd: Path = ROOT, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "retis_py", "print", *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)} | (environment or {}),
        check=False,
        timeout=60,
    )


def printed(*arguments: str | Path, **options: Path) -> str:
    run = retis_print(*arguments, **options)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def test_an_unsorted_file() -> None:
    text = printed(DATA / "test_events.json")
    events = text.split("\n\n")
    assert events.pop() == ""
    assert len(events) == 5
    assert events[2] == (
        "23868955262984 (2) [napi/phy0-8197] 1360 [tp] openvswitch:ovs_dp_upcall"
        " #15b56c998008ffff8c0aa653ba00 (skb ffff8c03aa978a00)\n"
        "  upcall (miss) port 3366920467 cpu 1"
    )


def test_a_sorted_file() -> None:
    text = printed(DATA / "test_events_sorted.json")
    assert text.split("\n\n")[2] == (
        "23868955262984 (2) [napi/phy0-8197] 1360 [tp] openvswitch:ovs_dp_upcall"
        " #15b56c998008ffff8c0aa653ba00 (skb ffff8c03aa978a00) n 0\n"
        "  upcall (miss) port 3366920467 cpu 1\n"
        "  ↳ 23868955276361 (3) [napi/phy0-8197] 1360 [kr] ovs_dp_upcall"
        " #15b56c998008ffff8c0aa653ba00 (skb ffff8c03aa978a00) n 1\n"
        "      upcall_ret (1/23868955262984) ret 0"
    )


def test_the_default_file_and_all_options(tmp_path: Path) -> None:
    (tmp_path / "retis.data").write_bytes((DATA / "test_events_packets.json").read_bytes())
    text = printed("--format", "single-line", "--utc", "-e", cwd=tmp_path)
    assert text.splitlines()[1] == (
        "2025-03-18 23:12:45.860103 (6) [ping] 11330 [tp] net:net_dev_start_xmit"
        " #1baa83c42ba1ffff8e95c3b67c00 (skb ffff8e95d3009100)"
        " a6:c2:11:71:59:45 > fa:5c:bd:8e:cc:01 ethertype IPv4 (0x0800)"
        " 192.168.125.10 > 192.168.125.11 tos 0x0 ttl 64 id 41977 off 0 [DF] len 84"
        " proto ICMP (1) type 8 code 0"
        " ns 0x3/4026532741 if 11 (veth-ns01)"
        " skb [csum none len 98 priority 0 users 1 dataref 1]"
        " ct_state NEW status 0x8 icmp"
        " orig [192.168.125.10 > 192.168.125.11 type 8 code 0 id 29004]"
        " reply [192.168.125.11 > 192.168.125.10 type 0 code 0 id 29004] zone 0 mark 0"
    )
    assert printed("--format=single-line", "--utc", "--print-ll", cwd=tmp_path) == text


def test_nothing_from_a_file_reaches_the_terminal_unescaped(tmp_path: Path) -> None:
    startup = json.loads((DATA / "test_events.json").read_text().splitlines()[0])
    startup["startup"] |= {"retis_version": "v1.7.0", "cmdline": EVIL}
    startup["startup"]["machine"] = dict.fromkeys(
        ("kernel_release", "kernel_version", "hardware_name"), EVIL
    )
    event = {
        "common": {"timestamp": 1, "task": {"pid": 1, "tgid": 1, "comm": EVIL}},
        "kernel": {"symbol": EVIL, "probe_type": EVIL, "stack_trace": [EVIL]},
        "skb-drop": {"subsys": EVIL, "drop_reason": EVIL},
        "packet": {"len": 16, "capture_len": 16, "data": "G10wOwcbXTA7BxtdMDsHGw=="},
        "dev": {"name": EVIL, "ifindex": 1},
    }
    path = tmp_path / "evil.data"
    path.write_text(json.dumps(startup) + "\n" + json.dumps(event) + "\n")
    for arguments in ((), ("-e",), ("--format", "single-line")):
        text = printed(path, *arguments)
        assert not set(text.replace("\n", "")) & set("\x1b\x07\u202e")
        assert "[\\x1b]0;owned\\x07\\u202e\\x0a] 1 [invalid]" in text


def test_a_locale_without_arrows() -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    run = retis_print(DATA / "test_events_sorted.json", environment=ascii_only)
    assert run.returncode == 0
    assert "  ↳ " in run.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b'{"common":{"times', "the first line is cut short"),
        (b"not JSON\n", "line 1 (byte 0) is not JSON"),
        (b'{"common":{"timestamp":1}}\n', "no startup event"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.data"
    if content is not None:
        path.write_bytes(content)
    run = retis_print(path)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("Error: ")
    assert run.stderr.count("\n") == 1
    assert message in run.stderr
    assert str(path) in run.stderr


def test_what_is_before_a_damaged_line_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "damaged.data"
    lines = (DATA / "test_events.json").read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"x\n", *lines[2:]]))
    run = retis_print(path)
    assert run.returncode == 1
    assert "tcp_v4_rcv" in run.stdout
    assert "ovs_dp_upcall" not in run.stdout
    assert run.stderr.startswith(f"Error: {path}: line 3 (byte {len(lines[0] + lines[1])}) is not")


def test_a_last_line_cut_short_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "cut.data"
    path.write_bytes((DATA / "test_events.json").read_bytes()[:-20])
    run = retis_print(path)
    assert run.returncode == 0
    assert "upcall_ret" in run.stdout
    assert "kfree_skb" not in run.stdout
    assert "line 5" in run.stderr
    assert "cut short" in run.stderr


def test_a_wrong_option_is_one_line() -> None:
    run = retis_print("--format", "fancy")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("Error: ")
    assert run.stderr.count("\n") == 1


def test_whether_a_file_can_be_read_is_seen_by_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not asked beforehand, which has other words and, in access(2), another user."""
    monkeypatch.setattr(os, "access", lambda *_args, **_options: False)
    run = CliRunner().invoke(cli, ["print", str(DATA / "test_events.json")])
    assert (run.exit_code, run.exception) == (0, None)
    assert "tcp_v4_rcv" in run.output


def test_more_processes_than_any_machine_wants() -> None:
    run = retis_print("-j", "100000000000", DATA / "test_events.json")
    assert (run.returncode, run.stdout) == (2, "")
    assert "1<=x<=256" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    lines = (DATA / "test_events_packets.json").read_bytes().splitlines(keepends=True)
    path = tmp_path / "long.data"
    path.write_bytes(lines[0] + b"".join(lines[1:]) * 500)
    command = f'"{sys.executable}" -m retis_py print "{path}"; echo "status $?" >&2'
    run = subprocess.run(
        ["/bin/sh", "-c", f"({command}) | head -n 1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=60,
    )
    assert run.stdout == "30415793489711\n"
    assert run.stderr == "status 0\n"


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [sys.executable, "-m", "retis_py", "print", DATA / "test_events.json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
            timeout=60,
        )
    assert run.returncode == 1
    assert run.stderr == "Error: cannot write the events as text: No space left on device\n"
