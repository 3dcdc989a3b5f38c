"""What becomes of events when decoding is slow, stopped or killed, or the disk is full."""

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import cli, netns
from lab.emulation import fast_machine_only
from lab.faults import waits_for_decoder
from lab.netns import wait_until
from lab.shell_job import HEEDS_HANG_UPS
from lab.spooled import (
    PROBE,
    assert_all,
    decoder_of,
    here,
    is_gone,
    load,
    losses,
    of_spool,
    send,
    stopped,
    times,
    wait_for_decoded,
    wait_for_received,
)
from lab.terminal import on_terminal

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("root", "btf"),
    fast_machine_only,
]


# The process that decodes


def test_decoder_holds_nothing_of_bpf_and_no_privileges(link: netns.Pair, tmp_path: Path) -> None:
    with cli.background("collect", *PROBE, "-o", tmp_path / "events") as running:
        decoder = decoder_of(running.process)
        links = [path.readlink() for path in Path(f"/proc/{decoder}/fd").iterdir()]
        assert not [link for link in links if "bpf" in str(link) or "perf" in str(link)]
        status = Path(f"/proc/{decoder}/status").read_text()
        for name in ("CapInh", "CapPrm", "CapEff"):
            assert re.search(rf"^{name}:\s+0+$", status, re.M), status
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
        send(link, 10)
        assert running.stop().exit_code == 0
    assert is_gone(decoder)


@pytest.mark.parametrize("options", [(), ("--print",)], ids=["file", "file and text"])
def test_slow_decoder_loses_nothing(
    link: netns.Pair, tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "events"
    with cli.background("collect", *PROBE, *options, "-o", path) as running:
        with stopped(decoder_of(running.process)):
            for _ in range(5):
                send(link, 20_000)  # some times what the buffer holds
        result = running.stop()
    assert result.exit_code == 0, result.stderr
    assert losses(result.stderr) == 0
    assert "no room in the spool" not in result.stderr
    events = load(path)
    assert len(here(link, events)) == 100_000
    assert times(events) == sorted(times(events))
    assert [file.name for file in tmp_path.iterdir()] == ["events"]
    if options:
        assert result.stdout.count("[tp] net:netif_rx") == len(events)


def test_limit_of_the_spool(link: netns.Pair, tmp_path: Path) -> None:
    """Sent is received and lost, to the event; and it goes on when there is room."""
    path = tmp_path / "events"
    arguments = ("--spool-limit", "1MiB", "--buffer-size", "1MB")
    with cli.background("collect", *PROBE, *arguments, "-o", path) as running:
        with stopped(decoder_of(running.process)):
            send(link, 30_000)
            size = path.with_name("events.spool").stat()
            assert size.st_blocks * 512 <= (1 << 20) + 16384
        wait_for_decoded(path.with_name("events.spool"))
        send(link, 1000)
        result = running.stop()
    assert result.exit_code == 0, result.stderr
    lost = losses(result.stderr)
    events = here(link, load(path))
    assert lost > 10_000
    assert len(events) + lost == 31_000
    assert len(events) > 6_000
    said = [line for line in result.stderr.splitlines() if "takes no more events for now" in line]
    assert len(said) == 1
    assert "its limit is reached" in said[0]
    assert "--spool-limit" in said[0]


def test_disk_full_during_the_spool(link: netns.Pair, disk: Path) -> None:
    """What was captured is there; what was not is counted; it goes on when there is room."""
    path, large = disk / "events", disk / "large"
    arguments = ("--spool-limit", "1GB", "--buffer-size", "64k")
    with cli.background("collect", *PROBE, *arguments, "-o", path) as running:
        large.write_bytes(bytes(3 << 20))
        with stopped(decoder_of(running.process)):
            send(link, 10_000)
        large.unlink()
        wait_for_decoded(path.with_name("events.spool"))
        send(link, 100)
        result = running.stop()
    assert result.exit_code == 0, result.stderr
    lost, events = losses(result.stderr), here(link, load(path))
    assert lost > 3000
    assert len(events) + lost == 10_100
    assert result.stderr.count("No space left on device") == 1


def test_output_on_a_full_disk_leaves_the_rest_in_the_spool(link: netns.Pair, disk: Path) -> None:
    path = disk / "events"
    (disk / "large").write_bytes(bytes(1 << 20))
    with cli.background("collect", *PROBE, "--spool-limit", "2MB", "-o", path) as running:
        send(link, 8000)
        result = running.wait(20)
    assert result.exit_code == 1
    [error] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert f"cannot write {path}: No space left on device" in error
    assert f"'retis print {path}.spool' and 'retis sort' read" in result.stderr
    (disk / "large").unlink()
    first, rest = load(path), of_spool(disk / "events.spool")
    [(missing, received)] = re.findall(r"([\d,]+) of ([\d,]+) event\(s\) are not", result.stderr)
    assert len(set(times(first)) | set(times(rest))) == int(received.replace(",", ""))
    assert len(first) >= int(received.replace(",", "")) - int(missing.replace(",", ""))


def test_terminal_that_nobody_reads(link: netns.Pair) -> None:
    """As with Ctrl-S: capture goes on, all is shown once it is read again."""
    outer, inner = pty.openpty()
    with cli_on(inner) as process:
        os.close(inner)
        for _ in range(3):
            send(link, 10_000)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        written = bytearray()

        def read() -> None:
            while True:
                try:
                    written.extend(os.read(outer, 65536))
                except OSError:
                    return

        reader = threading.Thread(target=read)
        reader.start()
        assert process.wait(60) == 0
        reader.join()
        os.close(outer)
    stamps = [int(number) for number in re.findall(rb"(\d+) \(\d+\) \[\w", written)]
    assert len(stamps) >= 30_000
    assert stamps == sorted(stamps)


@contextmanager
def cli_on(terminal: int) -> Iterator[subprocess.Popen[bytes]]:
    """A collection whose standard output is a terminal, once it is attached."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "retis_py", "collect", *PROBE, "--format", "single-line"),
                *("--ready-file", str(ready)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(ready.exists, "retis --ready-file", 30)
            yield process
        finally:
            process.kill()
            process.wait()


# Killed


def test_decoder_is_killed(link: netns.Pair, tmp_path: Path) -> None:
    path, spool = tmp_path / "events", tmp_path / "events.spool"
    with cli.background("collect", *PROBE, "-o", path) as running:
        decoder = decoder_of(running.process)
        send(link, 5000)
        wait_until(lambda: path.stat().st_size > 1 << 20, "events in the file")
        with stopped(decoder):
            send(link, 20_000)
            os.kill(decoder, signal.SIGKILL)
        result = running.wait(20)
    assert result.exit_code == 1
    [error] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "the process that decodes events has ended by SIGKILL" in error
    assert f"'retis print {spool}'" in error
    first, rest = load(path), of_spool(spool)
    assert_all(link, first, rest, 25_000)
    refused = cli.retis("collect", *PROBE, "-o", path, "--cmd", "true")
    assert refused.exit_code == 1
    assert f"{spool} holds {len(rest):,} event(s)" in refused.stderr


def test_decoder_is_killed_while_it_works(link: netns.Pair, tmp_path: Path) -> None:
    path = tmp_path / "events"
    with cli.background("collect", *PROBE, "-o", path) as running:
        decoder = decoder_of(running.process)
        flood = threading.Thread(target=send, args=(link, 40_000))
        with stopped(decoder):
            send(link, 40_000)
        flood.start()
        time.sleep(0.2)
        os.kill(decoder, signal.SIGKILL)
        result = running.wait(20)
        flood.join()
    assert result.exit_code == 1
    first, rest = load(path), of_spool(tmp_path / "events.spool")
    [(unread, received)] = re.findall(r"([\d,]+) of ([\d,]+) event\(s\) are in", result.stderr)
    total = len(set(times(first)) | set(times(rest)))
    assert total == int(received.replace(",", "")) >= 40_000
    assert len(first) + len(rest) - total <= 2000
    assert int(unread.replace(",", "")) <= len(rest)


def test_drainer_is_killed(link: netns.Pair, tmp_path: Path) -> None:
    """The other process writes what was received, and removes the spool."""
    path = tmp_path / "events"
    with cli.background("collect", *PROBE, "-o", path) as running:
        decoder = decoder_of(running.process)
        with stopped(decoder):
            send(link, 30_000)
            wait_for_received(path.with_name("events.spool"), 30_000)
            assert running.stop(signal.SIGKILL).exit_code == -signal.SIGKILL
        wait_until(lambda: is_gone(decoder), "the decoder's end")
        said = running.output()
    assert "the collecting process has ended early: the 30,000 event(s)" in said
    events = load(path)
    assert len(here(link, events)) == 30_000
    assert times(events) == sorted(times(events))
    assert [file.name for file in tmp_path.iterdir()] == ["events"]


def test_both_are_killed(link: netns.Pair, tmp_path: Path) -> None:
    """As when the machine stops."""
    path, spool = tmp_path / "events", tmp_path / "events.spool"
    with cli.background("collect", *PROBE, "-o", path) as running:
        decoder = decoder_of(running.process)
        send(link, 1000)
        with stopped(decoder):
            send(link, 30_000)
            wait_for_received(spool, 31_000)
            running.stop(signal.SIGKILL)
            os.kill(decoder, signal.SIGKILL)
    wait_until(lambda: is_gone(decoder), "the decoder's end")
    assert_all(link, load(path), of_spool(spool), 31_000)


def test_decoding_at_the_end_can_be_interrupted(link: netns.Pair, tmp_path: Path) -> None:
    path, spool = tmp_path / "events", tmp_path / "events.spool"
    with cli.background("collect", *PROBE, "-o", path, prefix=HEEDS_HANG_UPS) as running:
        decoder, process = decoder_of(running.process), running.process
        with stopped(decoder):
            send(link, 30_000)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: waits_for_decoder(process.pid), "the end of capture")
            process.send_signal(signal.SIGINT)
            result = running.wait(20)
    assert result.exit_code == 130
    assert re.search(r"decoding was interrupted: [\d,]+ of [\d,]+ event\(s\) are in", result.stderr)
    assert "Traceback" not in result.stderr
    assert_all(link, load(path), of_spool(spool), 30_000)


def test_progress_of_decoding_on_a_terminal(link: netns.Pair, tmp_path: Path) -> None:
    path, ready = tmp_path / "events", tmp_path / "ready"
    arguments = ("collect", *PROBE, "-o", path, "--ready-file", ready)
    with on_terminal(*arguments, stdout=tmp_path / "stdout") as running:
        wait_until(ready.exists, "retis --ready-file", 30)
        decoder = decoder_of(running.process)
        with stopped(decoder):
            send(link, 5000)
            running.process.send_signal(signal.SIGINT)
            wait_until(lambda: b"decoding" in running.written, "the progress bar", 20)
        assert running.process.wait(20) == 0
    assert running.written.rpartition(b"decoding")[2].count(b"\r\x1b[K") >= 1
    assert len(here(link, load(path))) == 5000
