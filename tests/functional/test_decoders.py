"""Events that several processes decode (``--decoders``): all of them, in order, as with one."""

import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest

from lab import cli, netns
from lab.emulation import fast_machine_only
from lab.netns import wait_until
from lab.spooled import (
    PROBE,
    assert_all,
    children_of,
    decoder_of,
    here,
    is_gone,
    load,
    losses,
    of_spool,
    send,
    stopped,
    times,
    wait_for_received,
)

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("root", "btf"),
    fast_machine_only,
]

HELPED = (*PROBE, "--decoders", "3")


def test_same_events_in_the_same_order(link: netns.Pair, tmp_path: Path) -> None:
    """A copy of the spool, decoded by one process, is what the others are compared with."""
    path, spool, copy = tmp_path / "events", tmp_path / "events.spool", tmp_path / "copy"
    with cli.background("collect", *HELPED, "-o", path) as running:
        decoder = decoder_of(running.process)
        assert not children_of(decoder)
        with stopped(decoder):
            send(link, 30_000)
            wait_for_received(spool, 30_000)
            shutil.copy(spool, copy)
        wait_until(lambda: len(children_of(decoder)) == 3, "helpers")
        helpers = children_of(decoder)
        result = running.stop()
    assert result.exit_code == 0, result.stderr
    events = load(path)
    assert len(here(link, events)) == 30_000
    assert events == of_spool(copy)
    assert times(events) == sorted(times(events))
    assert all(map(is_gone, helpers))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy", "events"]


@pytest.mark.parametrize("count", [9999, 10_000])
def test_stop_after(link: netns.Pair, tmp_path: Path, count: int) -> None:
    path = tmp_path / "events"
    with cli.background("collect", *HELPED, "--stop-after", str(count), "-o", path) as running:
        with stopped(decoder_of(running.process)):
            send(link, 20_000)
        result = running.wait(20)
    assert result.exit_code == 0, result.stderr
    assert f"[INFO] {count:,} event(s), none lost" in result.stderr
    assert len(load(path)) == count


def test_rotated(link: netns.Pair, tmp_path: Path) -> None:
    path = tmp_path / "events"
    with cli.background("collect", *HELPED, "--out-rotate", "1MB", "-o", path) as running:
        with stopped(decoder_of(running.process)):
            send(link, 20_000)
        result = running.stop()
    assert result.exit_code == 0, result.stderr
    pieces = sorted(tmp_path.iterdir(), key=lambda piece: int(piece.suffix[1:]))
    assert len(pieces) > 5
    events = [event for piece in pieces for event in load(piece)]
    assert len(here(link, events)) == 20_000
    assert times(events) == sorted(times(events))


def test_limit_of_the_spool(link: netns.Pair, tmp_path: Path) -> None:
    """What helpers have counts as not decoded; it goes on when it is."""
    path = tmp_path / "events"
    arguments = ("--spool-limit", "1MiB", "--buffer-size", "1MB")
    with cli.background("collect", *HELPED, *arguments, "-o", path) as running:
        with stopped(decoder_of(running.process)):
            send(link, 30_000)
        send(link, 10_000)
        result = running.stop()
    assert result.exit_code == 0, result.stderr
    events = here(link, load(path))
    assert losses(result.stderr) > 10_000
    assert len(events) + losses(result.stderr) == 40_000


def test_output_on_a_full_disk(link: netns.Pair, disk: Path) -> None:
    path = disk / "events"
    (disk / "large").write_bytes(bytes(1 << 20))
    with cli.background("collect", *HELPED, "--spool-limit", "2MB", "-o", path) as running:
        with stopped(decoder_of(running.process)):
            send(link, 6000)
        result = running.wait(20)
    assert result.exit_code == 1
    [error] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert f"cannot write {path}: No space left on device" in error
    (disk / "large").unlink()
    first, rest = load(path), of_spool(disk / "events.spool")
    [(missing, received)] = re.findall(r"([\d,]+) of ([\d,]+) event\(s\) are not", result.stderr)
    count = int(received.replace(",", ""))
    assert count > 4000
    assert len(set(times(first)) | set(times(rest))) == count
    assert len(first) >= count - int(missing.replace(",", ""))


def test_drainer_is_killed(link: netns.Pair, tmp_path: Path) -> None:
    path = tmp_path / "events"
    with cli.background("collect", *HELPED, "-o", path) as running:
        decoder = decoder_of(running.process)
        with stopped(decoder):
            send(link, 30_000)
            wait_for_received(path.with_name("events.spool"), 30_000)
            assert running.stop(signal.SIGKILL).exit_code == -signal.SIGKILL
        wait_until(lambda: is_gone(decoder), "the decoder's end")
    events = load(path)
    assert len(here(link, events)) == 30_000
    assert times(events) == sorted(times(events))
    assert [file.name for file in tmp_path.iterdir()] == ["events"]


def test_they_hold_nothing_and_no_privileges(link: netns.Pair, tmp_path: Path) -> None:
    with cli.background("collect", *HELPED, "-o", tmp_path / "events") as running:
        decoder = decoder_of(running.process)
        with stopped(decoder):
            send(link, 20_000)
        wait_until(lambda: len(children_of(decoder)) == 3, "helpers")
        for helper in children_of(decoder):
            folder = Path(f"/proc/{helper}/fd")
            wait_until(lambda folder=folder: len(list(folder.iterdir())) == 4, "closed files")
            assert sum("socket:" in str(path.readlink()) for path in folder.iterdir()) == 1
            status = Path(f"/proc/{helper}/status").read_text()
            for name in ("CapInh", "CapPrm", "CapEff"):
                assert re.search(rf"^{name}:\s+0+$", status, re.M), status
            assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
            assert os.getpriority(os.PRIO_PROCESS, helper) == 10
        assert running.stop().exit_code == 0


def test_a_helper_is_killed(link: netns.Pair, tmp_path: Path) -> None:
    """What was received is in the file or in the spool; one line says so."""
    path, spool = tmp_path / "events", tmp_path / "events.spool"
    with cli.background("collect", *HELPED, "-o", path) as running:
        decoder = decoder_of(running.process)
        with stopped(decoder):
            send(link, 20_000)
        wait_until(lambda: len(children_of(decoder)) == 3, "helpers")
        helpers = children_of(decoder)
        os.kill(helpers[1], signal.SIGKILL)
        with stopped(decoder):
            send(link, 20_000)
        result = running.wait(20)
    assert result.exit_code == 1
    [error] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "a process that helps to decode events has ended by SIGKILL" in error
    assert f"'retis print {spool}'" in result.stderr
    assert "Traceback" not in result.stderr
    assert_all(link, load(path), of_spool(spool), 40_000)
    assert all(map(is_gone, [decoder, *helpers]))


def test_killed_while_they_work(link: netns.Pair, tmp_path: Path) -> None:
    """The process that they help: they end with it."""
    path = tmp_path / "events"
    with cli.background("collect", *HELPED, "-o", path) as running:
        decoder = decoder_of(running.process)
        flood = threading.Thread(target=send, args=(link, 30_000))
        with stopped(decoder):
            send(link, 30_000)
        flood.start()
        wait_until(lambda: len(children_of(decoder)) == 3, "helpers")
        helpers = children_of(decoder)
        os.kill(decoder, signal.SIGKILL)
        result = running.wait(20)
        flood.join()
    assert result.exit_code == 1
    assert "the process that decodes events has ended by SIGKILL" in result.stderr
    wait_until(lambda: all(map(is_gone, helpers)), "the helpers' end")
    first, rest = load(path), of_spool(tmp_path / "events.spool")
    [(_, received)] = re.findall(r"([\d,]+) of ([\d,]+) event\(s\) are in", result.stderr)
    total = len(set(times(first)) | set(times(rest)))
    assert total == int(received.replace(",", "")) >= 30_000
    assert len(first) + len(rest) - total <= 2000
