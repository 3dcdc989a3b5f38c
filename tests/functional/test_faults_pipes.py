"""Readers of text and of messages that are late, never come or go away; as test_faults.py."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import netns
from lab.emulation import fast_machine_only
from lab.faults import RETIS, assert_file, assert_said, waits_for_decoder
from lab.leftovers import Traces
from lab.netns import wait_until
from lab.shell_job import HEEDS_HANG_UPS
from lab.spooled import (
    PROBE,
    assert_all,
    decoder_of,
    load,
    losses,
    of_spool,
    send,
    stopped,
    times,
    wait_for_decoded,
    wait_for_received,
)

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("root", "btf"),
    fast_machine_only,
]

TEXT = re.compile(rb"^\d+ \(\d+\) \[.*netif_rx", re.MULTILINE)


@contextmanager
def into_pipe(
    traces: Traces, tmp_path: Path, *arguments: str | Path, errors: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A collection whose output goes to a pipe."""
    ready = tmp_path / "ready"
    words = ["collect", *PROBE, "--format", "single-line", *map(str, arguments)]
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*HEEDS_HANG_UPS, *RETIS, *words, "--ready-file", str(ready)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr if errors is None else errors,
            env={**os.environ, **traces.environment},
        )
    try:
        wait_until(ready.exists, "retis --ready-file", 30)
        traces.note(process.pid)
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_reader_that_reads_late(link: netns.Pair, tmp_path: Path, traces: Traces) -> None:
    with into_pipe(traces, tmp_path) as process:
        assert process.stdout is not None
        send(link, 10_000)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        text = process.stdout.read()
        assert process.wait(20) == 0
    assert len(TEXT.findall(text)) == 10_000
    assert_said((tmp_path / "stderr").read_text(), 10_000)
    traces.assert_none()


def test_reader_that_never_reads(link: netns.Pair, tmp_path: Path, traces: Traces) -> None:
    """The first Ctrl-C ends the capture, the second one the wait for the reader."""
    with into_pipe(traces, tmp_path) as process:
        send(link, 10_000)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: waits_for_decoder(process.pid), "the end of the capture", 10)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        said = (tmp_path / "stderr").read_text()
        [(unread, received)] = re.findall(
            r"decoding was interrupted: ([\d,]+) of ([\d,]+) event\(s\) were not shown", said
        )
        assert received == "10,000"
        assert int(unread.replace(",", "")) > 5000
        traces.assert_none()


def test_reader_that_never_reads_and_killed(
    link: netns.Pair, tmp_path: Path, traces: Traces
) -> None:
    """The decoding process gives the reader 3 s; the rest is in the spool."""
    path, spool = tmp_path / "events", tmp_path / "events.spool"
    with into_pipe(traces, tmp_path, "-o", path, "--print") as process:
        send(link, 10_000)
        wait_for_received(spool, 10_000)
        process.kill()
        process.wait()
        assert traces.processes()
        assert_none_within(traces, 15)
        said = (tmp_path / "stderr").read_text()
    assert "the collecting process has ended early, and nobody reads its output" in said
    assert f"of 10,000 event(s) are in {spool} only" in said
    assert_all(link, load(path), of_spool(spool), 10_000)


def assert_none_within(traces: Traces, seconds: float) -> None:
    wait_until(lambda: not traces.processes(), "the end of all processes", seconds)
    traces.assert_none()


def test_reader_that_goes_away(link: netns.Pair, tmp_path: Path, traces: Traces) -> None:
    """There is a file, too: the collection goes on."""
    path = tmp_path / "events"
    with into_pipe(traces, tmp_path, "-o", path, "--print") as process:
        assert process.stdout is not None
        send(link, 10)
        assert TEXT.match(process.stdout.readline())
        process.stdout.close()
        send(link, 10_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    said = (tmp_path / "stderr").read_text()
    assert_said(said, 10_010)
    assert_file(link, path, 10_010)
    traces.assert_none()


def test_messages_that_nobody_reads(link: netns.Pair, tmp_path: Path, traces: Traces) -> None:
    """Capture does not wait for them; they come when they are read."""
    path = tmp_path / "events"
    outer, inner = os.pipe()
    reading = open(outer, "rb")  # noqa: PTH123, SIM115
    limits = ("--spool-limit", "1MiB", "--buffer-size", "1MB")
    try:
        with into_pipe(traces, tmp_path, *limits, "-o", path, errors=inner) as process:
            os.close(inner)
            fill(process.pid)
            with stopped(decoder_of(process)):
                send(link, 20_000)
            wait_for_decoded(path.with_name("events.spool"))
            begin = time.monotonic_ns()
            send(link, 100)

            def last_ones() -> int:
                return sum(time > begin for time in times(load(path)))

            wait_until(lambda: last_ones() == 100, "the last ones", 10)
            process.send_signal(signal.SIGINT)
            said = reading.read().decode().lstrip("\0")
            assert process.wait(20) == 0
    finally:
        reading.close()
    assert said.count("takes no more events for now") == 1
    lost = losses(said)
    assert lost > 1000
    assert_file(link, path, 20_100 - lost)
    traces.assert_none()


def fill(pid: int) -> None:
    """Fill the pipe that a process has as standard error, to the last byte."""
    descriptor = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    try:
        for size in (4096, 1):
            with pytest.raises(BlockingIOError):
                while True:
                    os.write(descriptor, bytes(size))
    finally:
        os.close(descriptor)
