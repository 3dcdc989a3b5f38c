"""Memory of all processes of a session, children included, as /proc tells it."""

import os
import re
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")

_MIB = 1 << 20


class Memory(NamedTuple):
    """Of all processes of a session, in MiB; pages that they share count once in ``pss``."""

    pss: float
    rss: float
    processes: int


class Session:
    """The processes of a session: a process is born into its parent's and rarely leaves it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._others = set(_pids()) - {number}

    def memory(self) -> Memory:
        """Add up what its processes have now."""
        found = []
        for pid in _pids() - self._others:
            try:
                # The command stands in parentheses; state, parent, group and session follow.
                status = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
                if int(status[3]) != self._number:
                    self._others.add(pid)
                    continue
                found.append((PROC / str(pid) / "smaps_rollup").read_text())
            except (OSError, IndexError):  # it has ended
                continue
        texts = [text for text in found if "Pss:" in text]
        return Memory(_sum("Pss", texts), _sum("Rss", texts), len(texts))


def _pids() -> set[int]:
    return {int(name) for name in os.listdir(PROC) if name.isdigit()}  # noqa: PTH208 (faster)


def _sum(key: str, texts: list[str]) -> float:
    counts = (re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE) for text in texts)
    return sum(int(count[1]) for count in counts if count) * 1024 / _MIB
