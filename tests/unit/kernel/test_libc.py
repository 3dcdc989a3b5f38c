"""Holes in files, locked memory: each in a process of its own where it stays."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.kernel.libc import punch_hole

PAGE = os.sysconf("SC_PAGE_SIZE")


def test_hole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (1 << 20))
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        before = path.stat().st_blocks
        punch_hole(file.fileno(), 4096, 512 << 10)
    content = path.read_bytes()
    assert content == b"x" * 4096 + bytes(512 << 10) + b"x" * ((512 << 10) - 4096)
    assert path.stat().st_blocks <= before - 1000


def test_no_hole_in_a_pipe() -> None:
    reader, writer = os.pipe()
    with pytest.raises(OSError, match=r".+") as caught:
        punch_hole(writer, 0, 4096)
    assert caught.value.errno in (errno.ESPIPE, errno.ENODEV, errno.EOPNOTSUPP)
    os.close(reader)
    os.close(writer)


def status_after(statement: str) -> dict[str, str]:
    """/proc/self/status of a process that has run a statement."""
    script = (
        f"from retis_py.kernel.libc import *\n{statement}\nprint(open('/proc/self/status').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    lines = (line.partition(":") for line in done.stdout.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in lines}


def test_locked_memory() -> None:
    require("root")
    assert int(status_after("lock_memory()")["VmLck"].split()[0]) > 1000


FREED = """
from pathlib import Path
from retis_py.kernel.libc import give_back_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

some = [bytes(2000) for _ in range(20_000)]
full = resident()
some[:-1] = []  # the last one is at the heap's end, which alone goes back by itself
kept = resident()
give_back_memory()
print(full, kept, resident())
"""


def test_free_memory_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    full, kept, left = (int(pages) * PAGE >> 20 for pages in done.stdout.split())
    assert full - kept < 10
    assert kept - left > 30
