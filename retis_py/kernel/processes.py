"""Processes of this machine by the program that they run, in whatever namespaces they live.

A process in another mount namespace has paths of its own: its files are reached through
``/proc/PID/exe``, ``/proc/PID/root`` and ``/proc/PID/map_files`` (proc(5)), which also hold files
that were replaced or removed since.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_REMOVED = " (deleted)"


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file with code that a process runs.

    ``name`` is the path as the process sees it, ``path`` one by which we can open it, as long as
    the process lives.
    """

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process: ``pid`` as this namespace numbers it, ``executable`` its path as it sees it.

    ``start_time`` (clock ticks since boot) tells it from a later one with the same number.
    """

    pid: int
    executable: str
    start_time: int
    folder: Path

    @property
    def file(self) -> MappedFile:
        """Its program."""
        return MappedFile(self.executable, self.folder / "exe")

    def is_alive(self) -> bool:
        """Whether it runs still."""
        return _start_time(self.folder) == self.start_time

    def code_files(self) -> list[MappedFile]:
        """Return its program and its libraries, each once; empty when it is gone.

        Raises:
            OSError: this user may not look.
        """
        try:
            lines = (self.folder / "maps").read_text(errors="surrogateescape").split("\n")
        except (FileNotFoundError, ProcessLookupError):
            return []
        found = {}
        for line in lines:
            mapping = _CODE.fullmatch(line)
            if mapping and mapping["name"] not in found:
                found[mapping["name"]] = self._reachable(mapping)
        return list(found.values())

    def _reachable(self, mapping: re.Match[str]) -> MappedFile:
        name = mapping["name"].removesuffix(_REMOVED)
        if name == self.executable:
            return self.file
        inode = int(mapping["inode"])
        path = self.folder / "root" / name.lstrip("/")
        try:
            same = path.stat().st_ino == inode
        except OSError:
            same = False
        if not same:  # only root may go this way
            path = self.folder / "map_files" / mapping["range"]
        return MappedFile(name, path)


# START-END PERMISSIONS OFFSET DEVICE INODE NAME (fs/proc/task_mmu.c, show_map_vma).
_CODE = re.compile(
    r"(?P<range>[0-9a-f]+-[0-9a-f]+) ..x. [0-9a-f]+ \S+ (?P<inode>\d+) +(?P<name>/.*)", re.DOTALL
)


def processes_of(program: str, root: Path = Path("/")) -> list[Process]:
    """Return the processes whose executable's file name is ``program``, in the order of their ids.

    Programs that were replaced or removed since they were started count; so do those of other PID
    namespaces below this one. ``root`` is where the machine's files are.
    """
    found = []
    for folder in (root / "proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            executable = os.readlink(folder / "exe")  # noqa: PTH115 (a Path would lose a //)
        except OSError:  # gone meanwhile, a kernel thread, or another user's
            continue
        executable = executable.removesuffix(_REMOVED)
        start = _start_time(folder)
        if executable.rpartition("/")[2] == program and start is not None:
            found.append(Process(int(folder.name), executable, start, folder))
    return sorted(found, key=lambda process: process.pid)


def _start_time(folder: Path) -> int | None:
    """Return field 22 of /proc/PID/stat, None when there is no such process; zombies are none."""
    try:
        text = (folder / "stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may hold anything, parentheses too.
    fields = text[text.rfind(b")") + 1 :].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in (b"Z", b"X") else None
