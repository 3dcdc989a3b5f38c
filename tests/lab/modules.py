"""Modules of the kernel that a test's outcome hangs on."""

import subprocess
import time
from pathlib import Path

_PATIENCE = 20.0  # s


def is_loaded(name: str) -> bool:
    """Whether it is in the kernel as a module."""
    path = Path("/proc/modules")
    lines = path.read_text().splitlines() if path.exists() else []
    return any(line.startswith(f"{name} ") for line in lines)


def unload(name: str) -> bool:
    """Unload it and what uses it; false where something else still does.

    Namespaces of earlier tests, with what holds the module, go a while after their last process.
    """
    deadline = time.monotonic() + _PATIENCE
    while is_loaded(name) and time.monotonic() < deadline:
        _unload(name)
        time.sleep(0.5)
    return not is_loaded(name)


def _unload(name: str) -> None:
    holders = Path(f"/sys/module/{name}/holders")
    for holder in holders.iterdir() if holders.exists() else ():
        _unload(holder.name)
    subprocess.run(["rmmod", name], check=False, capture_output=True)
