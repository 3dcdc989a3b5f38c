"""``retis pcap`` as a person runs it; what other tools make of its output: tests/interop."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.cli import Result, retis
from lab.pcapng_blocks import read_section

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"
PACKETS = DATA / "test_events_packets.json"  # 27 lines
DROPS = "raw_tracepoint/skb:kfree_skb"


def pcap(*arguments: str | Path, before: tuple[str, ...] = (), **options: Any) -> Result:
    environment = {"PYTHONPATH": str(ROOT)} | options.pop("environment", {})
    return retis(*before, "pcap", *arguments, environment=environment, **options)


def failed(*arguments: str | Path, code: int = 1, **options: Any) -> str:
    """The one line of an error."""
    run = pcap(*arguments, **options)
    assert (run.exit_code, run.stdout) == (code, "")
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr.removeprefix("Error: ").rstrip()


def names(path: Path) -> list[str]:
    return [packet.interface.name for packet in read_section(path.read_bytes()).packets]


def test_all_probes(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    run = pcap(PACKETS, "-o", out)
    assert (run.exit_code, run.stdout) == (0, "")
    assert run.stderr.endswith("[INFO] 26 packet(s) written\n")
    events = [json.loads(line) for line in PACKETS.read_text().splitlines()[1:]]
    assert names(out) == [
        f"{event['kernel']['probe_type']}/{event['kernel']['symbol']}" for event in events
    ]


def test_the_default_file_and_standard_output(tmp_path: Path) -> None:
    (tmp_path / "retis.data").write_bytes(PACKETS.read_bytes())
    run = subprocess.run(
        [sys.executable, "-m", "retis_py", "pcap"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert len(read_section(run.stdout).packets) == 26


@pytest.mark.parametrize("name", ["tp:skb:kfree_skb", DROPS, "skb:kfree_skb"])
def test_one_probe(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.pcapng"
    assert pcap(PACKETS, "--probe", name, "--out", out).exit_code == 0
    assert names(out) == [DROPS] * 2


def test_a_profile_names_the_probe(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    assert pcap(PACKETS, "-o", out, before=("-p", "dropmon")).exit_code == 0
    assert names(out) == [DROPS] * 2


def test_the_users_probe_is_stronger_than_the_profiles(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    run = pcap(PACKETS, "-p", "kr:ovs_dp_upcall", "-o", out, before=("-p", "dropmon"))
    assert run.exit_code == 0
    assert names(out) == ["kretprobe/ovs_dp_upcall"] * 2


def test_a_profile_without_a_pcap_section() -> None:
    message = failed(PACKETS, code=2, before=("-p", "ifdump"))
    assert "profile 'ifdump' has no section 'pcap'" in message


def test_a_probe_that_is_not_there(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    out.write_bytes(b"older")
    message = failed(PACKETS, "-p", "k:\x1bnope", "-o", out)
    assert message.startswith(
        f"no event in {PACKETS} is of probe 'k:\\x1bnope'; there are packets of raw_tracepoint/net:"
    )
    assert out.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [out]


def test_listing_probes() -> None:
    run = pcap(PACKETS, "-l")
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "raw_tracepoint:net:net_dev_start_xmit",
        "raw_tracepoint:net:netif_receive_skb",
        "raw_tracepoint:openvswitch:ovs_do_execute_action",
        "kretprobe:ovs_dp_upcall",
        "raw_tracepoint:openvswitch:ovs_dp_upcall",
        "raw_tracepoint:skb:kfree_skb",
    ]
    for line in run.stdout.splitlines():
        assert pcap(PACKETS, "-p", line, "-o", "/dev/null").exit_code == 0


def test_a_series_file(tmp_path: Path) -> None:
    first, *events = PACKETS.read_text().splitlines()
    series = [f"[{first}]", f"[{','.join(events[:5])}]", f"[{','.join(events[5:])}]"]
    (tmp_path / "sorted").write_text("\n".join(series) + "\n")
    assert pcap(tmp_path / "sorted", "-o", tmp_path / "a").exit_code == 0
    assert pcap(PACKETS, "-o", tmp_path / "b").exit_code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_without_packets() -> None:
    path = DATA / "test_events.json"
    assert failed(path) == (
        f"there are no packets in {path}: none of its 4 events has one; collect them with the"
        " collector 'skb'"
    )


def test_selections(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    where = 'kernel.symbol == "skb:kfree_skb"'
    assert pcap(PACKETS, "--where", where, "-o", out).exit_code == 0
    assert names(out) == [DROPS] * 2
    assert pcap(PACKETS, "-f", "icmp and less 98", "-o", out).exit_code == 0
    assert len(names(out)) == 26
    assert pcap(PACKETS, "-f", "arp", "-o", out).exit_code == 0
    assert names(out) == []


@pytest.mark.parametrize("classic", [[], ["--classic"]])
@pytest.mark.parametrize(("option", "what"), [("-f", "not a filter"), ("--where", "((")])
def test_bad_expressions(tmp_path: Path, classic: list[str], option: str, what: str) -> None:
    out = tmp_path / "out.pcapng"
    message = failed(PACKETS, option, what, "-o", out, *classic, code=2)
    assert message.startswith({"-f": "--filter-packet: ", "--where": "--where"}[option])
    assert not out.exists()


def test_bad_input_replaces_nothing(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    out.write_bytes(b"older")
    good = PACKETS.read_bytes()
    damaged = good.replace(b"\n", b"\ngarbage\n", 4)
    for content, message in (
        (b"", "is empty"),
        (b"garbage\n", "line 1 (byte 0) is not JSON"),
        (damaged, "line 2 (byte "),
    ):
        source.write_bytes(content)
        for options in ([], ["--classic"], ["-l"]):
            assert message in failed(source, "-o", out, *options)
            assert out.read_bytes() == b"older"
    assert "no such file" in failed(tmp_path / "nope", "-o", out)
    assert "Is a directory" in failed(tmp_path, "-o", out)
    assert sorted(tmp_path.iterdir()) == [out, source]

    source.write_bytes(damaged)
    assert pcap(source, "-o", out, "--keep-going").exit_code == 0
    assert len(names(out)) == 26


def test_what_comes_before_a_damaged_line_is_seen() -> None:
    lines = PACKETS.read_bytes().splitlines(keepends=True)
    run = subprocess.run(
        [sys.executable, "-m", "retis_py", "pcap", "-"],
        input=b"".join([*lines[:5], b"garbage\n", *lines[5:]]),
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 1
    assert b"Error: the standard input: line 6 " in run.stderr
    assert len(read_section(run.stdout).packets) == 4


def test_a_last_line_cut_short(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(PACKETS.read_bytes()[:-100])
    run = pcap(tmp_path / "source", "-o", tmp_path / "out")
    assert run.exit_code == 0
    assert "cut short" in run.stderr
    assert len(names(tmp_path / "out")) == 25


def test_never_over_the_input(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(PACKETS.read_bytes())
    (tmp_path / "link").symlink_to("source")
    for name in ("source", "link"):
        assert failed(source, "-o", tmp_path / name, code=2) == (
            f"{tmp_path / name} is the input itself: give another name with -o"
        )
    assert source.read_bytes() == PACKETS.read_bytes()


def test_no_room() -> None:
    assert failed(PACKETS, "-o", "/dev/full") == "cannot write /dev/full: No space left on device"
    run = subprocess.run(
        ["prlimit", "--fsize=1000", sys.executable, "-m", "retis_py", "pcap", PACKETS, "--classic"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (run.returncode, run.stdout) == (1, b"")
    assert re.fullmatch(
        rb"Error: cannot write to /\S+: File too large; TMPDIR names another folder\n", run.stderr
    )


@pytest.mark.parametrize("classic", [[], ["--classic"]])
def test_nobody_reads_on(tmp_path: Path, classic: list[str]) -> None:
    source = tmp_path / "source"
    first, *events = PACKETS.read_bytes().splitlines(keepends=True)
    source.write_bytes(first + b"".join(events) * 400)
    run = subprocess.Popen(
        [sys.executable, "-m", "retis_py", "pcap", source, *classic],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert run.stdout is not None
    assert len(run.stdout.read(100)) == 100
    run.stdout.close()
    assert run.stderr is not None
    with run.stderr:
        assert run.stderr.read() == b""
    assert run.wait() == 141  # as if by SIGPIPE


def test_standard_error_is_closed(tmp_path: Path) -> None:
    """What would be told there is not, and nothing else changes."""
    out = tmp_path / "out"
    command = f'"{sys.executable}" -m retis_py pcap -o "{out}" "{PACKETS}" 2>&-'
    run = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    assert (run.returncode, run.stdout) == (0, b"")
    assert len(names(out)) == 26


def test_without_python_libpcap(tmp_path: Path) -> None:
    (tmp_path / "pylibpcap.py").write_text("raise ImportError('not here')")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    out = tmp_path / "out.pcap"
    message = failed(PACKETS, "--classic", "-o", out, environment=environment)
    assert "needs the Python package 'python-libpcap'" in message
    assert not out.exists()
    assert pcap(PACKETS, "-o", out, environment=environment).exit_code == 0
