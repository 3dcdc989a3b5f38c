"""Folders outside the checkout where the lab keeps what takes long to fetch or to build."""

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FetchError(Exception):
    """What the lab needs cannot be found, fetched, unpacked or built: one line."""


def folder(name: str, variable: str) -> Path:
    """``~/.cache/retis-py/NAME``, or what the environment's ``variable`` says instead."""
    default = Path.home() / ".cache" / "retis-py" / name
    return Path(os.environ.get(variable) or default).absolute()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Two test runs at once fetch one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(
    *command: str,
    cwd: Path | None = None,
    capture: bool = False,
    hint: str = "is the network there, is this root?",
) -> str:
    """Run a program to its end and return its output if ``capture``, else ''.

    Raises FetchError, which ends with ``hint``, when it is missing or fails.
    """
    if shutil.which(command[0]) is None:
        raise FetchError(f"'{command[0]}' is not installed; run 'make setup'")
    output = subprocess.PIPE if capture else None
    result = subprocess.run(command, cwd=cwd, stdout=output, text=True, check=False)
    if result.returncode != 0:
        raise FetchError(f"'{shlex.join(command)}' exits with {result.returncode}; {hint}")
    return result.stdout or ""
