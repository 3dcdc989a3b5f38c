"""A limit of memory as a container has it: a cgroup, of version 1 or 2, whichever is there."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Group:
    """Processes get into it by writing their id to ``procs``."""

    procs: Path
    _events: Path

    def kills(self) -> int:
        """How many processes the kernel has killed for it."""
        found = re.search(r"^oom_kill (\d+)$", self._events.read_text(), re.MULTILINE)
        return int(found[1]) if found else 0


@contextmanager
def memory_limit(size: int) -> Iterator[Group]:
    """Give a group for so many bytes, without swap; skip where there are no such groups."""
    if (_V1 / "memory.limit_in_bytes").exists():
        folder, limits = _V1, ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        events = "memory.oom_control"
    elif "memory" in _words(_V2 / "cgroup.subtree_control"):
        folder, limits, events = _V2, ["memory.max"], "memory.events"
    else:
        pytest.skip("no memory cgroups")
    group = folder / f"retis-test-{os.getpid()}"
    group.mkdir()
    try:
        for limit in limits:
            if (group / limit).exists():
                (group / limit).write_text(str(size))
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("0")
        yield Group(group / "cgroup.procs", group / events)
    finally:
        group.rmdir()


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
