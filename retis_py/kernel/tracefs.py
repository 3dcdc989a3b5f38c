"""What tracefs tells: tracepoints with their groups, and the functions that can be traced."""

import ctypes
import logging
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_MOUNT_POINT = Path("/sys/kernel/tracing")

# Groups whose events are no tracepoints of their own: one event per system call (all of them
# raw_syscalls:sys_enter and sys_exit), ftrace's records, and what users define at run time.
_NO_TRACEPOINTS = frozenset(
    {"syscalls", "ftrace", "kprobes", "uprobes", "eprobes", "fprobes", "synthetic", "user_events"}
)

# A mount that we made names its process, so that the next start can undo what a crash left.
_OUR_SOURCE = re.compile(r"retis-(\d+)")

_MNT_DETACH = 2  # include/linux/fs.h; umount2(2)


class Tracefs(Struct, frozen=True):
    """A mounted tracefs.

    Files that the kernel does not let us read give None, with the reason at debug level: callers
    then do without, as with no tracefs at all.
    """

    path: Path
    debugfs: Path

    @staticmethod
    def find(root: Path = Path("/")) -> "Tracefs | None":
        """Return the tracefs that is mounted, or None; /sys/kernel/tracing goes first."""
        mounts = [m for m in _mounts(root) if m.path.is_absolute()]
        debugfs = [root / m.path.relative_to("/") for m in mounts if m.type == "debugfs"]
        debugfs.append(root / "sys/kernel/debug")
        # debugfs mounts tracefs inside itself once somebody looks there.
        candidates = [root / _MOUNT_POINT.relative_to("/")]
        candidates += [root / m.path.relative_to("/") for m in mounts if m.type == "tracefs"]
        candidates += [path / "tracing" for path in debugfs]
        for path in candidates:
            if _is_file(path / "available_events"):
                return Tracefs(path, debugfs[0])
        return None

    @staticmethod
    def mount_points(root: Path = Path("/")) -> list[Path]:
        """Return where it is mounted now.

        Other than :meth:`find` this does not look into debugfs, where looking mounts it.
        """
        return [m.path for m in _mounts(root) if m.path.is_absolute() and m.type == "tracefs"]

    @staticmethod
    @contextmanager
    def mounted(allow_system_changes: bool, root: Path = Path("/")) -> "Iterator[Tracefs | None]":
        """Yield the tracefs, mounted for the time being where that is needed and allowed.

        Yields None where there is none and it may not or cannot be mounted. Only a mount made
        here is undone at the end, or one that a crashed run of ours left behind.
        """
        point = root / _MOUNT_POINT.relative_to("/")
        undo = _left_behind(root)
        tracefs = Tracefs.find(root)
        if tracefs is None and allow_system_changes:
            undo = _mount(point)
            tracefs = Tracefs.find(root) if undo else None
        elif tracefs is None:
            log.debug("no tracefs is mounted; --allow-system-changes would mount it")
        try:
            yield tracefs
        finally:
            if undo:
                _unmount(point)

    @staticmethod
    def is_ours(root: Path = Path("/")) -> bool:
        """Whether what is mounted at the usual place was mounted by a run of retis."""
        return _our_mount(root) is not None

    def tracepoints(self) -> list[str] | None:
        """Return the raw tracepoints as ``group:name``, sorted; None where they cannot be read.

        The per-system-call events of the group syscalls are left out: there is no raw tracepoint
        behind them.
        """
        lines = _read(self.path / "available_events")
        if lines is None:
            return None
        events = (line.partition(":") for line in lines.split())
        found = [f"{group}:{name}" for group, _, name in events if group not in _NO_TRACEPOINTS]
        return sorted(found)

    def traceable_functions(self) -> set[str] | None:
        """Return the names of all functions that ftrace can hook, modules' included.

        None where the list cannot be read (some kernels lock it even for root).
        """
        lines = _read(self.path / "available_filter_functions")
        if lines is None:
            return None
        # `NAME`, or `NAME [MODULE]`; functions of which the linker kept no name get a made-up one.
        found = re.findall(r"^(?!__ftrace_invalid_address__)\S+", lines, re.MULTILINE)
        return set(found)

    def kprobe_blacklist(self) -> frozenset[str]:
        """Return the functions that refuse kprobes; empty where the list cannot be read."""
        # `0xSTART-0xEND<tab>NAME` (kernel/kprobes.c, kprobe_blacklist_seq_show).
        lines = _read(self.debugfs / "kprobes/blacklist") or ""
        return frozenset(re.findall(r"^0x\w+-0x\w+\t(\S+)", lines, re.MULTILINE))


class _Mount(Struct, frozen=True):
    source: str
    path: Path
    type: str


def _mounts(root: Path) -> list[_Mount]:
    lines = _read(root / "proc/self/mounts") or ""
    # Blanks and backslashes in a field come as \ooo (fs/proc_namespace.c, mangle).
    fields = (
        [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), field) for field in line.split(" ")]
        for line in lines.splitlines()
    )
    return [_Mount(f[0], Path(f[1]), f[2]) for f in fields if len(f) >= 3]


def _our_mount(root: Path) -> str | None:
    """Return the number of the process of ours that mounted the tracefs at its usual place."""
    here = [m for m in _mounts(root) if m.path == _MOUNT_POINT and m.type == "tracefs"]
    ours = _OUR_SOURCE.fullmatch(here[-1].source) if here else None
    return ours[1] if ours else None


def _left_behind(root: Path) -> bool:
    """Whether the tracefs at its usual place was mounted by a run of ours that is gone."""
    process = _our_mount(root)
    if process is None or (root / "proc" / process).exists():
        return False
    log.info("tracefs was left mounted by an interrupted run; unmounting it at the end")
    return True


def _mount(point: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    source = f"retis-{os.getpid()}".encode()
    if libc.mount(source, os.fsencode(point), b"tracefs", ctypes.c_ulong(0), None) == 0:
        log.debug("mounted tracefs at %s", point)
        return True
    log.warning(
        "cannot mount tracefs at %s: %s; doing without", point, os.strerror(ctypes.get_errno())
    )
    return False


def _unmount(point: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # Somebody who looks into it meanwhile keeps it busy: it then goes when they leave.
    path = os.fsencode(point)
    if libc.umount2(path, 0) == 0 or libc.umount2(path, _MNT_DETACH) == 0:
        log.debug("unmounted tracefs from %s", point)
        return
    log.warning(
        "cannot unmount tracefs from %s: %s; do it by hand: umount %s",
        point,
        os.strerror(ctypes.get_errno()),
        point,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # the directory is root's alone
        return False


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        log.debug("cannot read %s: %s", path, error.strerror)
        return None
