"""What cannot be done is said in one line: what failed, why, what to do next."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import capabilities, cli, netns
from lab.collection import sender
from lab.emulation import fast_machine_only
from lab.mounts import retis_after, retis_as_nobody

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("root", "btf")]

# Collectors by name: what others have to say about this kernel is no business of these tests.
PROBE = ("-c", "skb,dev,ns", "-p", "tp:net:netif_rx")


def assert_is_one_line(result: cli.Result, *, exit_code: int) -> str:
    """Check how it failed; return the line without its ``Error: ``."""
    assert "Traceback" not in result.stderr, result.stderr
    assert "bug in retis" not in result.stderr, result.stderr
    lines = [line for line in result.stderr.splitlines() if "[INFO]" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert result.exit_code == exit_code
    return lines[0].removeprefix("Error: ")


def refused(*arguments: str | Path, exit_code: int) -> str:
    return assert_is_one_line(
        cli.retis("collect", *arguments, "--cmd", "true"), exit_code=exit_code
    )


# The machine


@fast_machine_only
def test_without_privileges() -> None:
    message = assert_is_one_line(retis_as_nobody("collect", *PROBE), exit_code=1)
    assert "CAP_BPF" in message
    assert "root" in message


@fast_machine_only
@pytest.mark.parametrize(
    "setup",
    [
        "mount -t tmpfs none /sys/kernel/btf",
        "mount --bind /dev/null /sys/kernel/btf/vmlinux",
    ],
    ids=["none", "empty"],
)
def test_without_btf(setup: str) -> None:
    result = retis_after(setup, "collect", *PROBE, "--cmd", "true")
    message = assert_is_one_line(result, exit_code=1)
    assert "BTF" in message


def test_kprobe_without_kprobes() -> None:
    if capabilities.CAPABILITIES["kprobes"]() is None:
        pytest.skip("the kernel has kprobes")
    for probe in ("kprobe:ip_rcv", "ip_rcv", "kretprobe:ip_rcv", "kprobe:ip_*"):
        message = refused("-p", probe, exit_code=1)
        assert "CONFIG_KPROBES" in message
        assert "tracepoint" in message


# Probes


@fast_machine_only
@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("tp:skb:no_such_tracepoint", "no such tracepoint"),
        ("tp:sched:sched_switch", "no argument that an enabled collector feeds on"),
        ("tp:skb", "GROUP:NAME"),
        ("usb:core:send", "unknown type 'usb'"),
        ("tp:net:netif_rx/stacks", "unknown option 'stacks'"),
        ("kprobe:", "a function's name"),
        ("", "a function's name"),
        ("tp:net:netif_rx\x1b[31m", "tracepoint"),
        ("tp:net:netif_rx ", "tracepoint"),
    ],
)
def test_probe(probe: str, reason: str) -> None:
    message = refused("-p", probe, exit_code=2)
    assert reason in message
    assert message.isprintable()


@fast_machine_only
def test_tracepoint_that_the_collectors_named_cannot_use() -> None:
    message = refused("-c", "skb-drop", "-p", "tp:net:netif_rx", exit_code=2)
    assert "no argument that an enabled collector feeds on" in message


@fast_machine_only
def test_tracepoint_wildcard_without_a_match() -> None:
    setup = "mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing"
    result = retis_after(setup, "collect", "-p", "tp:skb:no_*", "--cmd", "true")
    message = assert_is_one_line(result, exit_code=2)
    assert "no tracepoint matches" in message


@pytest.mark.usefixtures("kprobes")
@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("kprobe:no_such_function", "no such function"),
        ("kprobe:schedule", "no argument that an enabled collector feeds on"),
        ("kprobe:no_such_*", "no function that can be probed matches"),
        ("kprobe:*", "more than 1,024 probes"),
    ],
)
def test_function(probe: str, reason: str) -> None:
    assert reason in refused("-p", probe, exit_code=2)


# Options


@fast_machine_only
@pytest.mark.parametrize(
    "arguments",
    [
        ("--buffer-size", "0"),
        ("--buffer-size", "4x"),
        ("--buffer-size", "-1"),
        ("--buffer-size", "99GB"),
        ("--buffer-size", "1.5MB"),
        ("--buffer-size", ""),
        ("--snaplen", "13"),
        ("--snaplen", "1025"),
        ("--snaplen", "many"),
        ("--stop-after", "0"),
        ("--stop-after", "1k"),
        ("--format", "xml"),
        ("--no-such-option",),
        ("a-stray-word",),
    ],
)
def test_options(arguments: tuple[str, ...]) -> None:
    message = refused(*PROBE, *arguments, exit_code=2)
    assert arguments[0] in message
    assert "retis collect --help" in message


@fast_machine_only
@pytest.mark.parametrize(
    ("name", "hint"), [("nosuch", "there are"), ("skb-dorp", "did you mean skb-drop?")]
)
def test_unknown_collector(name: str, hint: str) -> None:
    message = refused("-c", f"skb,{name}", exit_code=2)
    assert f"unknown collector '{name}'" in message
    assert hint in message


@fast_machine_only
@pytest.mark.parametrize(("given", "unknown"), [("nonsense", "nonsense"), ("drop,,Drop", "Drop")])
def test_unknown_verdict(given: str, unknown: str) -> None:
    message = refused("-c", "nft", "--nft-verdicts", given, exit_code=2)
    assert message.startswith(f"--nft-verdicts: unknown verdict '{unknown}', use all, continue,")


@fast_machine_only
def test_collector_without_probes() -> None:
    assert "nothing to probe" in refused("-c", "dev", exit_code=2)


# Files


@fast_machine_only
def test_file_in_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "events"
    message = refused(*PROBE, "-o", path, exit_code=1)
    assert f"cannot create {path}: No such file or directory" in message


@fast_machine_only
def test_file_that_is_a_folder(tmp_path: Path) -> None:
    assert "Is a directory" in refused(*PROBE, "-o", tmp_path, exit_code=1)


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    with netns.pair(ipv6=False) as made:
        yield made


@fast_machine_only
def test_full_file_system(link: netns.Pair, tmp_path: Path) -> None:
    """What does not fit is said, to the event."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    command = sender(link.left, "udp-many", link.right.ip4, 4001, 500, 2000)
    result = retis_after(
        f"mount -t tmpfs -o size=64k none {disk}",
        *("collect", *PROBE, "-o", disk / "events", "--cmd", command),
        then=f"cp {disk}/events {copy}",
    )
    written = copy.read_bytes()
    assert len(written) == 65536
    message = assert_is_one_line(without_warnings(result), exit_code=1)
    assert f"cannot write {disk / 'events'}: No space left on device" in message
    missing, collected = events_not_in_the_file(result)
    # The last line is cut short, the first one is the startup event.
    assert written.count(b"\n") - 1 + missing == collected


def without_warnings(result: cli.Result) -> cli.Result:
    lines = [line for line in result.stderr.splitlines() if "[WARN]" not in line]
    return cli.Result(result.exit_code, result.stdout, "\n".join(lines))


def events_not_in_the_file(result: cli.Result) -> tuple[int, int]:
    """How many events are said to be missing, and of how many."""
    pattern = r"([\d,]+) of ([\d,]+) event\(s\) are not in the file"
    [(missing, collected)] = re.findall(pattern, result.stderr)
    return int(missing.replace(",", "")), int(collected.replace(",", ""))


@fast_machine_only
def test_device_that_is_full() -> None:
    result = cli.retis("collect", *PROBE, "-o", "/dev/full", "--cmd", "true")
    message = assert_is_one_line(without_warnings(result), exit_code=1)
    assert "cannot write /dev/full: No space left on device" in message
    missing, collected = events_not_in_the_file(result)
    assert missing == collected


@fast_machine_only
def test_terminal_that_is_full(link: netns.Pair) -> None:
    """Standard output on a full disk."""
    command = sender(link.left, "udp-many", link.right.ip4, 4001, 500, 20)
    result = retis_after("true", "collect", *PROBE, "--cmd", command, stdout="/dev/full")
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert "No space left on device" in lines[0]
    assert "Traceback" not in result.stderr
    assert result.exit_code == 1


@fast_machine_only
def test_memory_for_the_largest_buffer() -> None:
    """Had or refused, but never a traceback."""
    result = cli.retis("collect", *PROBE, "--buffer-size", "2GB", "--cmd", "true")
    if result.exit_code != 0:
        assert "buffer" in assert_is_one_line(result, exit_code=1)
