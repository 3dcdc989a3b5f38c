"""Faults from outside, caused: afterwards nothing is left, and what was captured is there.

docs/reliability.md names each of these tests; tests/unit/test_docs_reliability.py holds it to that.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import cli, netns
from lab.emulation import fast_machine_only
from lab.faults import RETIS, assert_file, assert_said, caught, collecting, error_of
from lab.leftovers import Traces
from lab.netns import wait_until
from lab.shell_job import CTRL_C, CTRL_Z, HEEDS_HANG_UPS, ShellJob, shell_job
from lab.spooled import (
    PROBE,
    assert_all,
    children_of,
    decoder_of,
    is_gone,
    load,
    losses,
    of_spool,
    send,
    stopped,
    wait_for_received,
)

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("root", "btf"),
    fast_machine_only,
]


# Signals


@contextmanager
def job(
    traces: Traces, folder: Path, *arguments: str | Path, before: str = "true"
) -> Iterator[ShellJob]:
    words = ("collect", *PROBE, *arguments)
    with shell_job(*words, folder=folder, environment=traces.environment, before=before) as made:
        traces.note(made.pid)
        yield made


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def retis_processes(shell: ShellJob) -> list[int]:
    return [shell.pid, *children_of(shell.pid)]


def test_ctrl_z_and_back_then_ctrl_c(link: netns.Pair, tmp_path: Path, traces: Traces) -> None:
    """What came meanwhile lay in the kernel's buffer."""
    path = tmp_path / "events"
    with job(traces, tmp_path, "-o", path) as shell:
        send(link, 10)
        shell.type(CTRL_Z)
        processes = retis_processes(shell)
        assert len(processes) == 2
        wait_until(lambda: all(state(pid) == "T" for pid in processes), "Ctrl-Z", 10)
        send(link, 10)
        shell.type(b"fg\n")
        wait_until(lambda: all(state(pid) != "T" for pid in processes), "fg", 10)
        send(link, 10)
        shell.type(CTRL_C)
        assert shell.status() == 0
    assert_said(shell.shown.decode(), 30)
    assert_file(link, path, 30)
    traces.assert_none()


def test_ctrl_z_for_longer_than_the_buffer_lasts(
    link: netns.Pair, tmp_path: Path, traces: Traces
) -> None:
    """What did not fit is counted."""
    path = tmp_path / "events"
    with job(traces, tmp_path, "--buffer-size", "1MB", "-o", path) as shell:
        processes = retis_processes(shell)
        shell.type(CTRL_Z)
        wait_until(lambda: all(state(pid) == "T" for pid in processes), "Ctrl-Z", 10)
        send(link, 10_000)
        shell.type(b"fg\n")
        wait_until(lambda: all(state(pid) != "T" for pid in processes), "fg", 10)
        send(link, 10)
        shell.type(CTRL_C)
        assert shell.status() == 0
    lost = losses(shell.shown.decode())
    assert lost > 1000
    assert_file(link, path, 10_010 - lost)
    traces.assert_none()


def test_stopped_while_it_starts(link: netns.Pair, tmp_path: Path, traces: Traces) -> None:
    """Ctrl-Z while it compiles and loads, and back; the compiler is in a group of its own."""
    path, ready = tmp_path / "events", tmp_path / "ready"
    words = ["collect", *PROBE, "--no-cache", "-o", str(path), "--ready-file", str(ready)]
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*RETIS, *words], stderr=stderr, env={**os.environ, **traces.environment}
        )
    try:
        before, pause = 0, 0.03
        while not ready.exists() and process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: state(process.pid) in "TZ", "SIGSTOP", 10)
            before += not ready.exists()
            process.send_signal(signal.SIGCONT)
            time.sleep(pause)
            pause *= 1.2  # loading has to fit in between, however busy the machine is
        assert before > 3
        assert ready.exists(), (tmp_path / "stderr").read_text()
        traces.note(process.pid)
        send(link, 10)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, (tmp_path / "stderr").read_text()
    finally:
        process.kill()
        process.wait()
    assert_file(link, path, 10)
    traces.assert_none()


@pytest.mark.parametrize("text", [False, True], ids=["file", "text"])
def test_terminal_is_closed(
    link: netns.Pair, tmp_path: Path, traces: Traces, *, text: bool
) -> None:
    """The shell and the kernel send SIGHUP; there is nobody to tell anything."""
    path = tmp_path / "events"
    arguments = () if text else ("-o", path)
    with job(traces, tmp_path, *arguments) as shell:
        send(link, 10)
        if text:
            wait_until(lambda: shell.shown.count(b"[tp] net:netif_rx") == 10, "the text", 10)
        shell.close()
        wait_until(lambda: is_gone(shell.pid), "the collection's end", 20)
    if not text:
        assert_file(link, path, 10)
    assert sorted(p.name for p in tmp_path.glob("events*")) == ([] if text else ["events"])
    traces.assert_none()


def test_terminal_is_closed_and_hang_ups_are_ignored(
    link: netns.Pair, tmp_path: Path, traces: Traces
) -> None:
    """As with nohup or disown: it goes on, whatever becomes of the status line."""
    path = tmp_path / "events"
    with job(traces, tmp_path, "-o", path, before="trap '' HUP") as shell:
        send(link, 10)
        wait_until(lambda: b"10 events" in shell.shown, "the status line", 10)
        shell.close()
        errors = Path(f"/proc/{shell.pid}/fd/2")
        wait_until(lambda: "(deleted)" in str(errors.readlink()), "a terminal that is gone", 10)
        send(link, 10)
        time.sleep(1.1)  # two of the status line's intervals
        send(link, 10)
        os.kill(shell.pid, signal.SIGINT)
        wait_until(lambda: is_gone(shell.pid), "the collection's end", 20)
    assert_file(link, path, 30)
    traces.assert_none()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_all_processes(
    link: netns.Pair, tmp_path: Path, traces: Traces, number: signal.Signals
) -> None:
    """As Ctrl-C does it, and systemd at a service's end; twice for SIGHUP, as a closed terminal."""
    path = tmp_path / "events"
    with collecting(traces, "-o", path) as running:
        with stopped(decoder_of(running.process)):  # events are under way
            send(link, 5000)
            for pid in traces.processes():
                os.kill(pid, number)
            if number == signal.SIGHUP:
                wait_until(lambda: not caught(running.process.pid, number), "the first one")
                os.kill(running.process.pid, number)
        result = running.wait(20)
    assert result.exit_code == 0, result.stderr
    assert_said(result.stderr, 5_000)
    assert_file(link, path, 5000)
    traces.assert_none()


SIGNALLED_AT_ITS_START = """
import os, signal, sys
from retis_py.cli.main import main

def send():
    os.kill(os.getpid(), number)

def ftruncate(*arguments):
    send()
    return really(*arguments)

moment, number, *words = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
if moment == "fork":
    os.register_at_fork(after_in_parent=send)
else:
    really, os.ftruncate = os.ftruncate, ftruncate
sys.exit(main(words))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["spool", "fork"])
def test_signal_in_the_moment_when_something_is_made(
    tmp_path: Path, traces: Traces, moment: str, number: signal.Signals
) -> None:
    """The spool, or the process that decodes: in a fork Python drops what a handler raises."""
    words = ["collect", *PROBE, "-o", str(tmp_path / "events")]
    ended = subprocess.run(
        [
            *HEEDS_HANG_UPS,
            *(sys.executable, "-c", SIGNALLED_AT_ITS_START, moment, str(int(number)), *words),
        ],
        env={**os.environ, **traces.environment},
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    said = ended.stderr.decode()
    assert ended.returncode == 130, said
    assert "Exception ignored" not in said
    assert "probe(s) loaded" not in said
    assert [path.name for path in tmp_path.iterdir()] == [traces.folder.name]
    traces.assert_no_process()


# kill -9


@pytest.mark.parametrize("who", ["collecting", "decoding", "helping", "all"])
def test_killed(link: netns.Pair, tmp_path: Path, traces: Traces, who: str) -> None:
    """Of a collection with a command, in the middle of work."""
    path, spool = tmp_path / "events", tmp_path / "events.spool"
    command = "sleep 600 & sleep 601; true"
    with collecting(traces, "--decoders", "2", "-o", path, "--cmd", command) as running:
        retis = running.process.pid
        wait_until(lambda: len(children_of(retis)) == 2, "the command's process")
        wait_until(lambda: len(running_as(retis, "retis_py")) == 1, "the command")
        [decoder] = running_as(retis, "retis_py")
        with stopped(decoder):
            send(link, 5000)
        wait_until(lambda: len(children_of(decoder)) == 2, "helpers")
        with stopped(decoder):
            send(link, 5000)
            wait_for_received(spool, 10_000)
            victims = {
                "collecting": [retis],
                "decoding": [decoder],
                "helping": children_of(decoder)[:1],
                "all": [retis, decoder, *children_of(decoder)],
            }[who]
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
        result = running.wait(20)
        if who == "collecting":
            wait_until(lambda: is_gone(decoder), "the decoder's end", 20)
        said = running.output()
    wait_until(lambda: all(map(is_gone, victims)), "the end of the killed", 10)
    assert result.exit_code == (-signal.SIGKILL if retis in victims else 1)
    if who == "all":
        end_command(traces)
    if who == "collecting":
        assert "the collecting process has ended early: the 10,000 event(s)" in said
        assert_file(link, path, 10_000)
        assert not spool.exists()
    else:
        assert_all(link, load(path), of_spool(spool), 10_000)
    if who in ("decoding", "helping"):
        assert f"'retis print {spool}'" in said
    traces.assert_none()


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def running_as(parent: int, words: str) -> list[int]:
    """The children with these words in their command line: one just forked has its parent's."""
    return [pid for pid in children_of(parent) if words in command_line(pid)]


def end_command(traces: Traces) -> None:
    """Nobody was left who could have."""
    left = traces.processes()
    assert all("sleep" in command_line(pid) for pid in left), left
    for pid in left:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("who", ["compiling", "collecting"])
def test_killed_while_it_compiles(tmp_path: Path, traces: Traces, who: str) -> None:
    path = tmp_path / "events"
    words = ["collect", *PROBE, "--no-cache", "-o", str(path), "--cmd", "true"]
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*RETIS, *words], stderr=stderr, env={**os.environ, **traces.environment}
        )
    with process:
        spool = path.with_name("events.spool")
        # The one that compiles, and the one that decodes, which removes the spool.
        wait_until(lambda: len(children_of(process.pid)) == 2, "both processes", 20)
        assert spool.exists()
        wait_until(lambda: len(running_as(process.pid, "child.py")) == 1, "the compiler", 20)
        [compiler] = running_as(process.pid, "child.py")
        with stopped(compiler):
            victim = compiler if who == "compiling" else process.pid
            os.kill(victim, signal.SIGKILL)
            code = process.wait(20)
    said = (tmp_path / "stderr").read_text()
    assert "probe(s) loaded" not in said
    if who == "compiling":
        assert code == 1
        assert error_of(said).startswith("the compiler has ended by SIGKILL: was memory short?")
    else:
        assert code == -signal.SIGKILL
        wait_until(lambda: not traces.processes(), "the others' end", 10)
        [folder] = traces.folder.iterdir()  # it has headers for the compiler
        again = cli.retis("collect", *PROBE, "--cmd", "true", environment=traces.environment)
        assert again.exit_code == 0
        assert f"removed {folder}, which an interrupted run left" in again.stderr
    wait_until(lambda: not spool.exists(), "the end of the spool, which is empty", 10)
    traces.assert_no_process()


def test_mount_of_a_killed_one(tmp_path: Path) -> None:
    """tracefs, mounted by --allow-system-changes: the next start says so and unmounts it."""
    ready = tmp_path / "ready"
    retis = f"{sys.executable} -m retis_py collect -c skb,dev,ns -p 'tp:net:netif_rx*'"
    mounts = "grep ^retis- /proc/mounts"
    script = f"""
        grep ' tracefs ' /proc/mounts | cut -d' ' -f2 | while read p; do umount -l $p; done
        umount -l /sys/kernel/debug 2>/dev/null
        {retis} --allow-system-changes --ready-file {ready} 2>/dev/null >/dev/null &
        while ! [ -e {ready} ]; do sleep 0.05; done
        kill -9 $!
        wait
        echo first; {mounts}
        {retis} --allow-system-changes --cmd true 2>&1
        echo then; {mounts}
    """
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
    first, _, then = done.stdout.partition("then\n")
    assert "tracefs was left mounted by an interrupted run" in first, done
    assert re.search(r"^retis-\d+ /sys/kernel/tracing tracefs ", first, re.MULTILINE)
    assert then == ""
