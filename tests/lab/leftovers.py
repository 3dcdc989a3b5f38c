"""What a retis has of the machine, and what of that is still there when it has ended.

Other people's collections may run beside: what is looked for is known by its id, by the marker that
all processes of a run have in their environment, or by the folder for temporary files, which is the
run's own.
"""

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.netns import wait_until
from lab.spooled import is_gone
from retis_py.kernel import libbpf

_MARKER = "RETIS_TEST_RUN"
_numbers = itertools.count(1)

# As fdinfo has it (kernel/bpf/syscall.c, bpf_*_show_fdinfo), and as libbpf asks for it.
_KINDS = {"prog_id": "prog", "map_id": "map", "link_id": "link"}


@dataclass(slots=True)
class Traces:
    """Of a run whose environment is ``environment``. ``folder`` is made for its temporary files."""

    folder: Path
    value: str = field(init=False)
    _noted: set[tuple[str, int]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Make the folder."""
        self.folder.mkdir()
        self.value = f"{os.getpid()}-{next(_numbers)}"

    @property
    def environment(self) -> dict[str, str]:
        return {_MARKER: self.value, "TMPDIR": str(self.folder)}

    def note(self, pid: int) -> None:
        """Note what of BPF a process has: programs, maps and links, some of each."""
        found = set(_held(pid))
        assert {kind for kind, _ in found} >= {"prog", "map"}, found
        self._noted |= found

    @property
    def kinds(self) -> set[str]:
        """What was noted."""
        return {kind for kind, _ in self._noted}

    def processes(self) -> list[int]:
        """The run's processes, its command's too."""
        marker = f"{_MARKER}={self.value}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdecimal() and marker in _environment(folder):
                    found.append(int(folder.name))
        return [pid for pid in found if not is_gone(pid)]

    def left(self) -> list[str]:
        """What there is, in words."""
        found = [f"process {_words(pid)}" for pid in self.processes()]
        found += [f"BPF {kind} {number}" for kind, number in self._noted if _exists(kind, number)]
        found += [str(path) for path in self.folder.iterdir()]
        found += map(str, Path("/dev/shm").glob("retis-[!f]*"))  # retis-fuzz-…: other tests' own
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        return found + [line for line in mounts if line.startswith("retis-")]

    def assert_none(self) -> None:
        """Nothing is left; the kernel may take a moment to free what nobody has any more."""
        assert self._noted, "nothing was noted, so nothing is known"
        self.assert_no_process()

    def assert_no_process(self) -> None:
        """As ``assert_none`` for a run that had nothing of BPF yet."""
        with suppress(Exception):
            wait_until(lambda: not self.left(), "the end of what is left", 10)
        left = self.left()
        assert left == []


def _environment(folder: Path) -> list[bytes]:
    return (folder / "environ").read_bytes().split(b"\0")


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return str(pid)


def _held(pid: int) -> Iterator[tuple[str, int]]:
    for path in list(Path(f"/proc/{pid}/fdinfo").iterdir()):
        text = ""
        with suppress(FileNotFoundError):  # closed meanwhile
            text = path.read_text()
        for name, number in re.findall(r"^(\w+_id):\s+(\d+)$", text, re.MULTILINE):
            if name in _KINDS:
                yield _KINDS[name], int(number)


def _exists(kind: str, number: int) -> bool:
    """Whether the kernel has a program, map or link of that id (bpf(2))."""
    descriptor = int(getattr(libbpf.library(), f"bpf_{kind}_get_fd_by_id")(number))
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True
