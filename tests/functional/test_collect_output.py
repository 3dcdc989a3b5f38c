"""Where events go and in which form, and how a collection ends."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab import capabilities, cli, netns
from lab.collection import Collection, collect, interface_index, namespace_number, read, sender
from lab.emulation import fast_machine_only
from lab.faults import caught
from lab.netns import wait_until
from lab.terminal import on_terminal

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("root", "btf"),
    fast_machine_only,
]

ROOT = Path(__file__).parents[2]
PROBE = ("-c", "skb,dev,ns", "-p", "tp:net:netif_rx")
PORT = 4001
FIRST_LINE = re.compile(r"\d+ \(\d+\) \[.*\] [\d/]+ \[tp\] net:netif_rx")


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    with netns.pair(ipv6=False) as made:
        # No answers: what is sent is all there is.
        made.right.run("nft", "table ip quiet {\nchain out {\ntype filter hook output priority 0;"
                       " policy drop;\n}\n}")  # fmt: skip
        yield made


def send(link: netns.Pair, count: int) -> str:
    """A command that sends datagrams."""
    return sender(link.left, "udp-many", link.right.ip4, PORT, 20, count)


def sent_here(link: netns.Pair, collection: Collection) -> int:
    """How many of the datagrams are in a collection."""
    return len(collection.within(namespace_number(link.right)).at("net:netif_rx"))


# Files and the terminal


def test_default_file(link: netns.Pair, tmp_path: Path) -> None:
    # The option takes a value if it can: another option follows.
    arguments = ("-o", "--cmd", send(link, 3))
    result = cli.retis(
        "collect", *PROBE, *arguments, cwd=tmp_path, environment={"PYTHONPATH": str(ROOT)}
    )
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["retis.data"]
    assert sent_here(link, read(tmp_path / "retis.data", result)) == 3


def test_named_file_and_nothing_printed(link: netns.Pair, tmp_path: Path) -> None:
    made = collect(*PROBE, path=tmp_path / "mine", cmd=send(link, 3))
    assert made.result.stdout == ""
    assert sent_here(link, made) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_older_file_is_replaced(link: netns.Pair, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text("old\n" * 100_000)
    assert sent_here(link, collect(*PROBE, path=path, cmd=send(link, 1))) == 1


def test_print_beside_the_file(link: netns.Pair, tmp_path: Path) -> None:
    made = collect(*PROBE, "--print", path=tmp_path / "events", cmd=send(link, 3))
    texts = made.result.stdout.removesuffix("\n\n").split("\n\n")
    assert len(texts) == len(made.events) >= 3
    for text, event in zip(texts, made.events, strict=True):
        assert text.startswith(f"{event['common']['timestamp']} ({event['common']['smp_id']}) ")


def printed(link: netns.Pair, *options: str) -> str:
    """What is printed where no file is asked for."""
    result = cli.retis("collect", *PROBE, *options, "--cmd", send(link, 2))
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_printed_by_default(link: netns.Pair) -> None:
    events = printed(link).removesuffix("\n\n").split("\n\n")
    assert len(events) >= 2
    for event in events:
        first, *others = event.split("\n")
        assert FIRST_LINE.fullmatch(first)
        assert others
        assert all(re.match("  [^ ]", line) for line in others)


def test_single_line(link: netns.Pair) -> None:
    lines = printed(link, "--format", "single-line").splitlines()
    assert len(lines) >= 2
    addresses = f"{link.left.ip4}.\\d+ > {link.right.ip4}.{PORT}"
    ours = [line for line in lines if re.search(addresses, line)]
    assert len(ours) == 2
    for line in ours:
        assert FIRST_LINE.match(line)
        assert f"if {interface_index(link.right)} ({link.right.dev})" in line


def test_utc(link: netns.Pair) -> None:
    before = datetime.now(UTC)
    first = printed(link, "--utc").splitlines()[0]
    text = " ".join(first.split(" ")[:2])
    shown = datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
    assert -1 < (shown - before).total_seconds() < 60


def test_link_layer(link: netns.Pair) -> None:
    header = f"{link.left.mac} > {link.right.mac} ethertype IPv4"
    assert header in printed(link, "-e")
    assert header in printed(link, "--skb-sections", "eth")
    assert link.left.mac not in printed(link)


# Task names


@pytest.mark.parametrize("options", [(), ("--format", "single-line")])
def test_task_names_cannot_reach_the_terminal(
    link: netns.Pair, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A process that calls itself an escape sequence (prctl PR_SET_NAME)."""
    name = b"\x1b[31mred\x07\r\n"
    script = tmp_path / "named.py"
    script.write_text(
        "import ctypes, socket\n"
        f"ctypes.CDLL(None).prctl(15, {name!r}, 0, 0, 0)\n"
        f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ({link.right.ip4!r}, 1))\n"
    )
    command = f"{link.left.prefix} /usr/bin/python3 -IS {script}"
    made = collect(
        *("-c", "skb,dev,ns", "-p", "tp:net:net_dev_start_xmit", "--print", *options),
        path=tmp_path / "events",
        cmd=command,
    )
    [event] = made.within(namespace_number(link.left)).events
    assert event["common"]["task"]["comm"] == name.decode()
    later = cli.retis("print", *options, tmp_path / "events").stdout
    for text in (made.result.stdout, later):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\r" not in text
        assert r"[\x1b[31mred\x07\x0d\x0a]" in text


# How it ends


def test_stop_after(link: netns.Pair, tmp_path: Path) -> None:
    path = tmp_path / "events"
    result = cli.retis(
        "collect", *PROBE, "--stop-after", "5", "-o", path, "--cmd", send(link, 5000)
    )
    assert result.exit_code == 0
    assert len(read(path, result).events) == 5
    assert "5 event(s)" in result.stderr


def test_stop_after_without_a_command(link: netns.Pair, tmp_path: Path) -> None:
    path = tmp_path / "events"
    with cli.background("collect", *PROBE, "--stop-after", "3", "-o", path) as running:
        subprocess.run(shlex.split(send(link, 10)), check=True)
        result = running.wait(20)
    assert result.exit_code == 0
    assert len(read(path, result).events) == 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("exit 3", "Command ended with exit code 3"),
        ("true", "Command ended with exit code 0"),
        ("no-such-command", "Command ended with exit code 127"),
        ("kill -TERM $$", "Command ended by SIGTERM"),
    ],
)
def test_how_the_command_ended_is_said(tmp_path: Path, command: str, message: str) -> None:
    result = cli.retis("collect", *PROBE, "-o", tmp_path / "events", "--cmd", command)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_ready_file_is_there_once_attached(link: netns.Pair, tmp_path: Path) -> None:
    """What is sent right after it has appeared is seen."""
    path = tmp_path / "events"
    with cli.background("collect", *PROBE, "-o", path) as running:
        subprocess.run(shlex.split(send(link, 1)), check=True)
        result = running.stop()
    assert sent_here(link, read(path, result)) == 1


def test_ready_file_cannot_be_made(tmp_path: Path) -> None:
    result = cli.retis("collect", *PROBE, "--ready-file", tmp_path / "no" / "file")
    assert result.exit_code == 1
    [line] = [line for line in result.stderr.splitlines() if "[INFO]" not in line]
    assert line.startswith("Error: ")
    assert str(tmp_path / "no" / "file") in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_is_lost(
    link: netns.Pair, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "events"
    with cli.background("collect", *PROBE, "-o", path) as running:
        subprocess.run(shlex.split(send(link, 3000)), check=True)
        result = running.stop(number)
    assert result.exit_code == 0, result.stderr
    assert sent_here(link, read(path, result)) == 3000
    assert ", none lost" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(
    link: netns.Pair, tmp_path: Path, number: signal.Signals
) -> None:
    """The first one waits for a command that does not want to end."""
    alive = tmp_path / "alive"
    command = f"trap '' INT TERM; touch {alive}; while [ -e {alive} ]; do sleep 0.1; done"
    arguments = ["collect", *PROBE, "-o", str(tmp_path / "events"), "--cmd", command]
    with cli.background(*arguments) as running:
        process = running.process
        # The command starts after the ready file is there: until its trap is set a signal ends it.
        wait_until(alive.exists, "the command's trap")
        process.send_signal(number)
        wait_until(lambda: not caught(process.pid, number), "the first signal to be handled")
        process.send_signal(number)
        assert running.wait(3).exit_code == -number
    alive.unlink()


def test_nothing_of_the_command_is_left(link: netns.Pair, tmp_path: Path) -> None:
    """The shell's own children end with it when the collection is over first."""
    command = f"{link.left.prefix} ping -n -i 0.2 -c 300 {link.right.ip4} > /dev/null; true"
    result = cli.retis(
        "collect", *PROBE, "--stop-after", "1", "-o", tmp_path / "events", "--cmd", command
    )
    left = netns.run(link.left.ns, f"ip netns pids {link.left.ns}").stdout.split()
    names = [comm(int(pid)) for pid in left]
    for pid, name in zip(left, names, strict=True):
        if name == "ping":
            os.kill(int(pid), signal.SIGKILL)
    assert result.exit_code == 0
    assert "Command ended by SIGTERM" in result.stderr
    assert "ping" not in names


def comm(pid: int) -> str:
    """A process's name, empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_reader_that_has_enough(link: netns.Pair, tmp_path: Path) -> None:
    """As with ``| head -n 1``: silence, and an end long before the command's."""
    errors, ready = tmp_path / "stderr", tmp_path / "ready"
    command = f"exec {link.left.prefix} ping -n -i 0.05 -c 2000 {link.right.ip4} > /dev/null"
    words = ["collect", *PROBE, "--ready-file", str(ready), "--cmd", command]
    with errors.open("wb") as stderr:
        retis = subprocess.Popen(
            [sys.executable, "-m", "retis_py", *words], stdout=subprocess.PIPE, stderr=stderr
        )
    with retis:
        assert retis.stdout is not None
        first = retis.stdout.readline().decode().rstrip()
        retis.stdout.close()
        code = retis.wait(20)
    assert FIRST_LINE.fullmatch(first)
    # What a shell makes of a writer without a reader, or a plain end.
    assert code in (0, 128 + signal.SIGPIPE)
    said = errors.read_text()
    assert not [line for line in said.splitlines() if "[INFO]" not in line], said


# The status line


def test_status_line_on_a_terminal(link: netns.Pair, tmp_path: Path) -> None:
    events, ready = tmp_path / "events", tmp_path / "ready"
    arguments = ["collect", *PROBE, "-o", events, "--ready-file", ready]
    with on_terminal(*arguments, stdout=tmp_path / "stdout") as running:
        wait_until(ready.exists, "retis --ready-file", 30)
        subprocess.run(shlex.split(send(link, 7)), check=True)
        shown = re.compile(rb"\r\x1b\[K([\d,]+) events \([\d,]+/s\), none lost")

        def counts() -> list[int]:
            return [int(n.replace(b",", b"")) for n in shown.findall(running.written)]

        wait_until(lambda: max(counts(), default=0) >= 7, "the status line")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(20) == 0
    assert b"Traceback" not in running.written
    # Taken away before the last messages.
    assert b"\r\x1b[K" in running.written.rpartition(b" events (")[2]
    assert (tmp_path / "stdout").read_bytes() == b""


def test_no_status_line_elsewhere(link: netns.Pair, tmp_path: Path) -> None:
    with cli.background("collect", *PROBE, "-o", tmp_path / "events") as running:
        subprocess.run(shlex.split(send(link, 7)), check=True)
        assert running.process.poll() is None
        time.sleep(1.2)  # two intervals of the line that must not come
        result = running.stop()
    assert "\r" not in result.stderr
    assert "\x1b" not in result.stderr
    assert "events (" not in result.stderr


def test_log_level(tmp_path: Path) -> None:
    arguments = ["collect", *PROBE, "-o", tmp_path / "events", "--cmd", "true"]
    quiet = cli.retis("--log-level", "error", *arguments)
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert "[INFO]" in cli.retis(*arguments).stderr


# The program's text


def test_print_bpf(tmp_path: Path) -> None:
    result = cli.retis("collect", *PROBE, "--print-bpf", "-o", tmp_path / "events")
    assert result.exit_code == 0
    assert "struct retis_context" in result.stdout
    assert "hook_dev" in result.stdout
    assert "hook_skb_drop" not in result.stdout  # only what was asked for
    assert not list(tmp_path.iterdir())


def test_printed_program_is_c(tmp_path: Path) -> None:
    """As far as balance can say: BCC's own preprocessing stands between it and a C compiler."""
    text = cli.retis("collect", *PROBE, "--print-bpf").stdout
    assert text.count("{") == text.count("}") > 50
    assert text.count("(") == text.count(")")
