"""A retis that a person has started: a job of an interactive shell on a terminal."""

import os
import pty
import re
import select
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.netns import wait_until
from lab.spooled import children_of

CTRL_C, CTRL_Z = b"\x03", b"\x1a"

# The tests may have been started by nohup.
HEEDS_HANG_UPS = ("env", "--default-signal=HUP")


@dataclass(slots=True)
class ShellJob:
    """The shell, the job's process, and what was shown so far."""

    shell: subprocess.Popen[bytes]
    pid: int
    terminal: int
    shown: bytearray = field(default_factory=bytearray)
    closed: threading.Event = field(default_factory=threading.Event)
    reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        """Begin to read what is shown."""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.terminal, keys)

    def status(self) -> int:
        """Ask the shell for the exit code of the last job, which has ended."""
        self.type(b"echo exit''code $?\n")
        pattern = re.compile(rb"exitcode (\d+)")
        wait_until(lambda: pattern.search(self.shown) is not None, "the exit code", 20)
        found = pattern.search(self.shown)
        assert found is not None
        return int(found[1])

    def close(self) -> None:
        """Close the terminal's window: the other end is gone. May be called again."""
        if not self.closed.is_set():
            self.closed.set()
            self.reader.join()  # a read that waits would keep it open
            os.close(self.terminal)

    def read(self) -> None:
        while not self.closed.is_set():
            if select.select([self.terminal], [], [], 0.02)[0]:
                try:
                    self.shown += os.read(self.terminal, 4096)
                except OSError:  # nobody has the other end open any more
                    return


@contextmanager
def shell_job(
    *arguments: str | Path, folder: Path, environment: Mapping[str, str], before: str
) -> Iterator[ShellJob]:
    """Type ``retis … collect …`` to a shell; the block starts once all probes are attached.

    ``before`` is what is typed first.
    """
    outer, inner = pty.openpty()
    # A process that leads a session and has a terminal: the kernel tells it of a hang-up.
    shell = subprocess.Popen(
        ["setsid", "--ctty", *HEEDS_HANG_UPS, "bash", "--norc", "--noprofile", "-i"],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**os.environ, **environment, "PS1": "$ ", "HISTFILE": "", "NO_COLOR": "1"},
    )
    os.close(inner)
    ready = folder / "ready"
    words = [sys.executable, "-m", "retis_py", *map(str, arguments), "--ready-file", str(ready)]
    job = ShellJob(shell, 0, outer)
    try:
        job.type(f"{before}\n{shlex.join(words)}\n".encode())
        wait_until(ready.exists, f"retis --ready-file; shown: {job.shown!r}", 30)
        [job.pid] = children_of(shell.pid)
        yield job
    finally:
        job.close()
        shell.kill()
        shell.wait()
