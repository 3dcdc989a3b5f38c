"""The Tab key, pressed in an interactive shell on a terminal."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.netns import LabError


def press_tab(
    shell: Sequence[str | Path],
    first: str,
    typed: str,
    expected: str,
    *,
    environment: Mapping[str, str],
    cwd: Path,
) -> str:
    """Start a shell, run the command ``first``, type, press Tab; return what is shown then.

    Raises LabError when the line does not become ``expected``.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *shell], stdin=slave, stdout=slave, stderr=slave,
        env=environment, cwd=cwd,
    )  # fmt: skip
    os.close(slave)
    try:
        os.write(master, f"{first}; echo re''ady\n".encode())
        _read_until(master, r"\nready|\rready")
        os.write(master, f"{typed}\t".encode())
        return _read_until(master, re.escape(expected))
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _read_until(descriptor: int, pattern: str, seconds: float = 15) -> str:
    """Read a terminal until the pattern shows, control sequences left out."""
    text, end = "", time.monotonic() + seconds
    while not re.search(pattern, _plain(text)):
        left = end - time.monotonic()
        if left <= 0:
            raise LabError(f"no {pattern!r} in {_plain(text)!r}")
        if select.select([descriptor], [], [], left)[0]:
            text += os.read(descriptor, 4096).decode(errors="replace")
    return _plain(text)


def _plain(text: str) -> str:
    return re.sub(r"\x1b(\[[0-9;?>=]*[A-Za-z]|\][^\x07]*\x07|[=>()][B0]?)", "", text)
