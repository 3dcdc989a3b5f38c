"""A retis whose standard error is a terminal."""

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class OnTerminal:
    """The process and what it has written to its terminal so far."""

    process: subprocess.Popen[bytes]
    written: bytearray = field(default_factory=bytearray)

    def copy(self, descriptor: int) -> None:
        """Read the terminal until the process has closed it."""
        while True:
            try:
                some = os.read(descriptor, 4096)
            except OSError:  # EIO: nobody has the other end open any more
                return
            self.written += some


@contextmanager
def on_terminal(*arguments: str | Path, stdout: Path) -> Iterator[OnTerminal]:
    """Run ``retis ARGUMENTS`` with a pseudo-terminal as standard error; killed at the end."""
    outer, inner = pty.openpty()
    with stdout.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "retis_py", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=inner,
            start_new_session=True,
        )
    os.close(inner)
    running = OnTerminal(process)
    reader = threading.Thread(target=running.copy, args=(outer,))
    reader.start()
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(outer)
