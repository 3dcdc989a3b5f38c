"""``retis stats`` as a person runs it."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retis_py.process.work import WORTH_SHARING

pytestmark = pytest.mark.usefixtures("ways")

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"
EVIL = "\x1b]0;owned\x07\u202e\n"

STARTUP: dict[str, Any] = {
    "common": {"timestamp": 1},
    "startup": {
        "retis_version": "v1.7.0",
        "cmdline": "retis collect -c skb",
        "clock_monotonic_offset": {"sec": 1_700_000_000, "nsec": 0},
        "machine": {"kernel_release": "6.1", "kernel_version": "#1", "hardware_name": "x86_64"},
    },
}


def packet(one: int, other: int, length: int) -> dict[str, Any]:
    frame = bytes(12) + b"\x08\0" + bytes(12) + bytes((10, 0, 0, one, 10, 0, 0, other))
    data = base64.b64encode(frame).decode()
    return {"len": length, "capture_len": len(frame), "data": data}


def event(time: int, **sections: Any) -> dict[str, Any]:
    return {
        "common": {"timestamp": time},
        "kernel": {"symbol": "ip_rcv", "probe_type": "kprobe"},
    } | {name.replace("_", "-"): section for name, section in sections.items()}


def startup(split: int | None = None) -> dict[str, Any]:
    if split is None:
        return STARTUP
    split_file = {"id": split, "policy": {"kind": "size", "limit": 1000}}
    return STARTUP | {"startup": STARTUP["startup"] | {"split_file": split_file}}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def stats(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "retis_py", "stats", *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=False,
        timeout=60,
    )


def told(*arguments: str | Path, cwd: Path = ROOT) -> str:
    run = stats(*arguments, cwd=cwd)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def told_json(*arguments: str | Path) -> Any:
    return json.loads(told("--json", *arguments))


def test_an_unsorted_file() -> None:
    assert told(DATA / "test_events_packets.json") == (
        "Retis version: v1.6.0\n"
        "Retis cmdline: unknown\n"
        "Number of events: 26\n"
        "First event at: 2025-03-18 23:12:45.860103\n"
        "Last event at: 2025-03-18 23:12:46.869715\n"
        "Probes:\n"
        "  raw_tracepoint/net:net_dev_start_xmit: 8\n"
        "  raw_tracepoint/net:netif_receive_skb: 8\n"
        "  raw_tracepoint/openvswitch:ovs_do_execute_action: 4\n"
        "  kretprobe/ovs_dp_upcall: 2\n"
        "  raw_tracepoint/openvswitch:ovs_dp_upcall: 2\n"
        "  raw_tracepoint/skb:kfree_skb: 2\n"
        "Drop reasons:\n"
        "  NO_SOCKET: 2\n"
        "Number of packets: 6\n"
        "Bytes of packets: 588\n"
        "Top talkers by bytes:\n"
        "  192.168.125.10 <-> 192.168.125.11: 588 bytes, 6 packets\n"
        "Top talkers by packets:\n"
        "  192.168.125.10 <-> 192.168.125.11: 6 packets, 588 bytes\n"
        "Devices:\n"
        "  veth-ns01-ovs (if 10, ns 0x1/4026531840): 8\n"
        "  veth-ns02-ovs (if 12, ns 0x1/4026531840): 8\n"
        "  veth-ns01 (if 11, ns 0x3/4026532741): 6\n"
        "  veth-ns02 (if 13, ns 0x2/4026532867): 4\n"
        "Network namespaces:\n"
        "  ns 0x1/4026531840: 16\n"
        "  ns 0x3/4026532741: 6\n"
        "  ns 0x2/4026532867: 4\n"
    )


def test_a_sorted_file_and_no_empty_tables() -> None:
    assert told(DATA / "test_events_sorted.json") == (
        "Retis version: v1.6.0\n"
        "Retis cmdline: unknown\n"
        "Number of series: 3\n"
        "Number of events: 4\n"
        "First event at: 2025-03-18 21:23:35.334427\n"
        "Last event at: 2025-03-18 21:23:35.646491\n"
        "Probes:\n"
        "  kprobe/tcp_v4_rcv: 1\n"
        "  kretprobe/ovs_dp_upcall: 1\n"
        "  raw_tracepoint/openvswitch:ovs_dp_upcall: 1\n"
        "  raw_tracepoint/skb:kfree_skb: 1\n"
        "Drop reasons:\n"
        "  NO_SOCKET: 1\n"
    )


def test_a_rotated_output(tmp_path: Path) -> None:
    ids = {"orig_head": 1, "timestamp": 2, "skb": 3}
    both = {"skb_tracking": ids, "packet": packet(1, 2, 60)}
    write(tmp_path / "retis.data.0", startup(0), event(2, **both), event(3, **both))
    write(tmp_path / "retis.data.1", startup(1), event(4, **both))
    first, second, total = told(cwd=tmp_path).split("\n\n")
    assert first.startswith(
        "Retis version: v1.7.0\n"
        "Retis cmdline: retis collect -c skb\n"
        "Split index: 0\n"
        "Number of events: 2\n"
        "First event at: 2023-11-14 22:13:20.000000\n"
    )
    assert "Split index: 1\nNumber of events: 1\n" in second
    assert total.startswith("Total of 2 files:\nNumber of events: 3\n")
    # The same packet in both files.
    for text in (first, second, total):
        assert "  10.0.0.1 <-> 10.0.0.2: 1 packets, 60 bytes\n" in f"{text}\n"

    found = told_json(tmp_path / "retis.data.0..")
    assert [(file["split_index"], file["events"]) for file in found["files"]] == [(0, 2), (1, 1)]
    assert found["total"]["events"] == 3
    assert found["total"]["packets"]["packets"] == 1


def test_json_numbers_are_exact(tmp_path: Path) -> None:
    most = 2**64 - 1
    path = write(
        tmp_path / "a",
        STARTUP,
        event(most, netns={"inum": 2**32 - 1, "cookie": most}, skb_drop={"drop_reason": "A"}),
        event(5, dev={"name": "eth0", "ifindex": 2}, skb_drop={"drop_reason": "A", "subsys": "B"}),
        {"common": {"timestamp": 6}},
    )
    found = told_json(path)
    (file,) = found["files"]
    described = {"file": str(path), "retis_version": "v1.7.0", "cmdline": "retis collect -c skb"}
    assert file == described | found["total"]
    assert file["series"] is None
    assert file["events"] == 3
    assert file["first_event"] == {"timestamp": 5, "utc": "2023-11-14 22:13:20.000000"}
    assert file["last_event"]["timestamp"] == most
    assert file["probes"] == [{"type": "kprobe", "symbol": "ip_rcv", "events": 2}]
    assert file["drops"] == [
        {"reason": "A", "events": 1, "subsys": "B"},
        {"reason": "A", "events": 1},
    ]
    assert file["devices"] == [{"name": "eth0", "ifindex": 2, "events": 1}]
    assert file["namespaces"] == [{"inum": 2**32 - 1, "events": 1, "cookie": most}]
    nobody = {"top": [], "others": {"conversations": 0, "packets": 0, "bytes": 0}}
    assert file["packets"] == {
        "packets": 0,
        "bytes": 0,
        "complete": True,
        "by_bytes": nobody,
        "by_packets": nobody,
    }


def test_top_talkers(tmp_path: Path) -> None:
    lines = [event(number, packet=packet(1, number, 100 * number)) for number in range(2, 15)]
    lines += [event(20, packet=packet(2, 1, 1)), event(21, packet=packet(2, 1, 1))]
    path = write(tmp_path / "a", STARTUP, *lines)
    text = told("--top", "2", path)
    assert (
        "Number of packets: 15\n"
        "Bytes of packets: 10402\n"
        "Top talkers by bytes:\n"
        "  10.0.0.1 <-> 10.0.0.14: 1400 bytes, 1 packets\n"
        "  10.0.0.1 <-> 10.0.0.13: 1300 bytes, 1 packets\n"
        "  (11 others: 7702 bytes, 13 packets)\n"
        "Top talkers by packets:\n"
        "  10.0.0.1 <-> 10.0.0.2: 3 packets, 202 bytes\n"
        "  10.0.0.1 <-> 10.0.0.14: 1 packets, 1400 bytes\n"
        "  (11 others: 11 packets, 8800 bytes)\n"
    ) in text
    assert told(path).count(" <-> ") == 2 * 10
    assert len(told_json(path, "--top", "99")["total"]["packets"]["by_bytes"]["top"]) == 13


def test_a_selection() -> None:
    path = DATA / "test_events_packets.json"
    found = told_json(path, "--where", "skb-drop", "-f", "icmp")
    assert found["total"]["events"] == 2
    assert [each["symbol"] for each in found["total"]["probes"]] == ["skb:kfree_skb"]
    assert "Number of events: 0\n" in told(path, "--where", "nft")
    text = told(DATA / "test_events_sorted.json", "--where", "ovs")
    assert "Number of series: 1\nNumber of events: 2\n" in text


def test_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a", STARTUP, event(1), event(2))
    path.write_text(path.read_text() + "garbage\n" + json.dumps(event(3)) + "\n")
    offset = path.read_text().index("garbage")
    run = stats(path)
    assert (run.returncode, run.stdout) == (1, "")
    assert f"line 4 (byte {offset}) is not JSON" in run.stderr
    assert run.stderr.count("\n") == 1
    run = stats("--keep-going", path)
    assert run.returncode == 0
    assert "Number of events: 3\n" in run.stdout
    assert f"line 4 (byte {offset}) is not JSON" in run.stderr


def test_hostile_names(tmp_path: Path) -> None:
    startup_event = STARTUP | {
        "startup": STARTUP["startup"] | {"retis_version": "v1.7.0+\x1b[1m", "cmdline": EVIL}
    }
    path = write(
        tmp_path / "a\x1b[1m",
        startup_event,
        event(1, dev={"name": EVIL, "ifindex": 1})
        | {
            "kernel": {"symbol": EVIL, "probe_type": EVIL},
            "skb-drop": {"drop_reason": EVIL, "subsys": EVIL},
        },
    )
    for text in (told(path), told(path, "--json")):
        assert not set(text.replace("\n", "")) & set("\x1b\x07\u202e")
    assert r"\x1b]0;owned\x07\u202e\x0a/\x1b]0;owned" in told(path)
    assert told_json(path)["files"][0]["probes"][0]["symbol"] == EVIL


def test_several_processes_count_the_same(tmp_path: Path) -> None:
    lines = (DATA / "test_events_packets.json").read_bytes().splitlines(keepends=True)
    body = b"".join(lines[1:])
    times = WORTH_SHARING // len(body) + 1
    path = tmp_path / "large"
    startup_line = json.dumps(STARTUP).encode() + b"\n"
    path.write_bytes(startup_line + body * times)
    alone, shared = told("--jobs", "1", path), told("--jobs", "3", path)
    assert alone == shared
    assert f"Number of events: {26 * times}\n" in alone
    assert "Number of packets: 6\n" in alone


@pytest.mark.parametrize("arguments", [("--top", "0"), ("--top", "x"), ("--where", "nosuch")])
def test_usage(arguments: tuple[str, str]) -> None:
    run = stats(*arguments, DATA / "test_events.json")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
