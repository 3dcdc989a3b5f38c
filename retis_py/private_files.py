"""Files that commands make and write: private, the calling user's, and past no trap.

What is new is made with mode 0600; under sudo it belongs to the user who called sudo. In a folder
that everybody may write to (/tmp) others may have left a link, a pipe or a file of theirs where we
are to write: nothing is followed or written there that is not root's or our own. That is what
fs.protected_symlinks, fs.protected_regular and fs.protected_fifos do (proc(5)), which may be off.

What is raised are OSErrors whose ``strerror`` says why in words that can be shown.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PRIVATE = 0o600

_MOST_LINKS = 40  # as many as the kernel follows (include/linux/namei.h, MAXSYMLINKS)
_MOST_TRIES = 10
_WRITING = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
_ALSO = os.O_NOFOLLOW | os.O_CLOEXEC
_SHARED = "in a folder that everybody may write to"


class Owner(NamedTuple):
    """To whom a file belongs."""

    uid: int
    gid: int


class Target(NamedTuple):
    """What a path stands for once links are followed; ``status`` is None where nothing is there."""

    path: Path
    status: os.stat_result | None


def calling_user() -> Owner | None:
    """Return who called sudo, None where we do not run as root by it (sudo(8), SUDO_UID)."""
    if os.geteuid() != 0:
        return None
    numbers = [os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID")]
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return None
    owner = Owner(*map(int, numbers))
    return owner if 0 < owner.uid < 1 << 32 and owner.gid < 1 << 32 else None


def create(path: Path, flags: int = os.O_WRONLY, mode: int = PRIVATE) -> int:
    """Create a file that was not there and return its descriptor.

    Raises:
        OSError: it cannot be created; FileExistsError where something of that name is there.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | _ALSO, mode)
    hand_over(descriptor)
    return descriptor


def hand_over(descriptor: int) -> None:
    """Give a file that we made to the calling user, where that is another one and we may."""
    owner = calling_user()
    if owner is not None:
        with suppress(OSError):  # a file system without owners, or that does not trust root
            os.fchown(descriptor, *owner)


def open_for_writing(path: Path) -> int:
    """Open a file, pipe or device for writing and return its descriptor.

    What is not there is created; a file that is there is emptied, and keeps its mode and owner.
    Links are followed, other than in folders that everybody may write to.

    Raises:
        OSError: it cannot be opened, or is a trap.
    """
    for _ in range(_MOST_TRIES):
        target = resolve(path)
        # Where it was made or removed meanwhile: look again.
        if target.status is None:
            with suppress(FileExistsError):
                return create(target.path)
        elif _is_link(target.status):  # one of procfs, that stands for something without a path
            return os.open(target.path, _WRITING)
        else:
            with suppress(FileNotFoundError):
                return _open_same(target.path, target.status)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))


def resolve(path: Path) -> Target:
    """Follow the links that ``path`` is, as far as they may be followed.

    Links of procfs, as /dev/stdout leads to, stay.

    Raises:
        OSError: what is there is a trap, or cannot be reached.
    """
    for _ in range(_MOST_LINKS):
        if not path.name:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
            if os.fstat(folder).st_mode & stat.S_IWOTH:
                _refuse_trap(status, path)
            if not _is_link(status) or _is_in_proc(folder):
                return Target(path, status)
            path = path.parent / os.readlink(path.name, dir_fd=folder)
        except FileNotFoundError:
            return Target(path, None)
        finally:
            os.close(folder)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _refuse_trap(status: os.stat_result, path: Path) -> None:
    """Raise PermissionError for what others may have put into a folder that all may write to."""
    caller = calling_user()
    trusted = {0, os.geteuid()} | ({caller.uid} if caller is not None else set())
    reason = None
    if _is_link(status):
        reason = f"it is a symbolic link {_SHARED}, which is not followed"
    elif stat.S_ISDIR(status.st_mode):
        return
    elif status.st_uid not in trusted:
        reason = f"it belongs to another user, {_SHARED}"
    elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        reason = f"it is a hard link {_SHARED}, and may be any file"
    if reason is not None:
        raise PermissionError(errno.EACCES, f"{reason}: remove it, or name another", str(path))


def _open_same(path: Path, seen: os.stat_result) -> int:
    """Open what was looked at; FileNotFoundError where something else is there by now."""
    found = os.open(path, os.O_PATH | _ALSO)
    try:
        if _identity(os.fstat(found)) != _identity(seen):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        # Through the descriptor: whatever the name stands for meanwhile.
        return os.open(f"/proc/self/fd/{found}", _WRITING)
    finally:
        os.close(found)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells a file from others; its number alone is used again at once."""
    return status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_nlink


def _is_link(status: os.stat_result) -> bool:
    return stat.S_ISLNK(status.st_mode)


def _is_in_proc(folder: int) -> bool:
    """Whether a folder is procfs's, where links may stand for what has no path."""
    with suppress(OSError):
        return os.fstat(folder).st_dev == os.stat("/proc/self").st_dev  # noqa: PTH116
    return False
