"""No memory, no address space, no room on a disk, and a disk that forgets; as test_faults.py."""

import os
import resource
import subprocess
from pathlib import Path

import pytest

from lab import netns
from lab.emulation import fast_machine_only
from lab.faults import RETIS, assert_file, assert_said, collecting, error_of
from lab.leftovers import Traces
from lab.memory import memory_limit
from lab.netns import wait_until
from lab.spooled import (
    PROBE,
    children_of,
    decoder_of,
    here,
    load,
    of_spool,
    send,
    stopped,
    wait_for_decoded,
    wait_for_received,
)

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("root", "btf"),
    fast_machine_only,
]

ROOT = Path(__file__).parents[2]


# Memory


def test_out_of_address_space_at_the_start(tmp_path: Path, traces: Traces) -> None:
    """ulimit -v, whatever it hits: an error in one line."""
    failed = 0
    for megabytes in (36, 60, 90):
        limit = megabytes << 20
        path = tmp_path / f"events{megabytes}"
        done = subprocess.run(
            [*RETIS, "collect", *PROBE, "-o", str(path), "--cmd", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **traces.environment},
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        if done.returncode != 0:
            failed += 1
            assert "memory is short" in error_of(done.stderr)
    assert failed >= 1
    traces.assert_no_process()


def test_no_memory_for_helpers(link: netns.Pair, tmp_path: Path, traces: Traces) -> None:
    """The decoding process gets no more than it has: it does without, however much is waiting."""
    path, spool = tmp_path / "events", tmp_path / "events.spool"
    with collecting(traces, "--decoders", "2", "-o", path) as running:
        decoder = decoder_of(running.process)
        send(link, 100)
        wait_until(lambda: path.stat().st_size > 10_000, "events in the file")
        with stopped(decoder):
            resource.prlimit(decoder, resource.RLIMIT_AS, (1 << 20, 1 << 20))
            send(link, 40_000)
        wait_for_received(spool, 40_100)
        wait_for_decoded(spool)
        assert not children_of(decoder)
        result = running.stop()
    assert_said(result.stderr, 40_100)
    assert_file(link, path, 40_100)
    traces.assert_none()


def test_compiler_is_out_of_memory(tmp_path: Path, traces: Traces) -> None:
    """The kernel kills it: a memory cgroup, as a container has."""
    path = tmp_path / "events"
    with memory_limit(64 << 20) as group:
        enter = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group.procs))
        done = subprocess.run(
            [*enter, *RETIS, "collect", *PROBE, "--no-cache", "-o", str(path), "--cmd", "true"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **traces.environment},
        )
        assert group.kills() >= 1
    assert done.returncode == 1, done.stderr
    assert error_of(done.stderr).startswith("the compiler has ended by SIGKILL: was memory short?")
    traces.assert_no_process()


# Disk


def test_no_room_for_temporary_files() -> None:
    """Nowhere: neither where TMPDIR says nor anywhere else.

    Read-only, not full: the checkout may be in one of these.
    """
    script = """
        for d in /tmp /var/tmp /usr/tmp; do
            [ -d $d ] && mount --bind $d $d && mount -o remount,bind,ro $d
        done 2>/dev/null
        exec "$@"
    """
    apart = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")
    done = subprocess.run(
        [*apart, *RETIS, "collect", *PROBE, "--no-cache", "--cmd", "true"],
        cwd="/proc",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "No usable temporary directory" in error_of(done.stderr)


def test_spool_is_damaged(link: netns.Pair, tmp_path: Path, traces: Traces) -> None:
    """By a disk that forgets, or somebody who writes to it: the rest of it stays."""
    path, spool = tmp_path / "events", tmp_path / "events.spool"
    with collecting(traces, "--decoders", "0", "-o", path) as running:
        with stopped(decoder_of(running.process)):
            for count in range(250, 10_001, 250):  # apart, or much of it might be one chunk
                send(link, 250)
                wait_for_received(spool, count)
            with spool.open("r+b") as file:
                file.seek(spool.stat().st_size // 2)
                file.write(bytes(4096))
        result = running.wait(20)
    assert result.exit_code == 1
    assert "bug" in error_of(result.stderr)
    assert f"'retis print {spool}'" in result.stderr
    first, rest = here(link, load(path)), of_spool(spool)
    assert 9000 < len(first) + len(rest) < 10_000
    traces.assert_none()
