"""A folder of this user's alone, for files that can be made again.

Nothing in it is trusted but for its owner: each folder on the way that is ours to choose belongs to
the effective user and nobody else may write there, and no symbolic link is followed. Under sudo or
su the home folder may be another user's: then there is no cache.
"""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

try:  # hashlib's would load OpenSSL, 3 ms of each start
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DIGEST_SIZE = 32
_BEGUN = ".begun-"
_BEGUN_FOR = 3600  # s, after which who began a file is taken for dead


class CacheFolder:
    """The folder ``NAME`` of ours in the user's cache, made where it is missing.

    Files are written to a temporary name and renamed: readers and other writers see all of a file
    or nothing.

    Raises:
        OSError: there can be none, or it is not safe to use.
    """

    def __init__(self, name: str) -> None:
        base = _open_base(_cache_home())
        try:
            ours = _open_private(base, "retis-py")
        finally:
            os.close(base)
        try:
            self._fd = _open_private(ours, name)
        finally:
            os.close(ours)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> list[str]:
        """Return the names of all files. Raises OSError."""
        return os.listdir(self._fd)  # noqa: PTH208 (pathlib has no descriptors)

    def read(self, name: str, limit: int) -> bytes:
        """Return what is in a file, and note that it was used.

        Raises:
            OSError: there is none, it is not one that we wrote, or has more than ``limit`` bytes.
        """
        # O_NONBLOCK: opening a pipe would wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=self._fd)
        try:
            status = os.fstat(fd)
            _check_owner(status, name)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a file", name)
            if status.st_size > limit:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
            data = os.read(fd, limit)
            with suppress(OSError):
                os.utime(fd)
        finally:
            os.close(fd)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file, readable by this user only. Raises OSError."""
        begun = f"{_BEGUN}{os.getpid()}-{time.monotonic_ns()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(begun, flags, 0o600, dir_fd=self._fd), "wb") as file:
            try:
                file.write(data)
                file.flush()
                os.rename(begun, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except BaseException:
                self.remove(begun)
                raise

    def remove(self, name: str) -> None:
        """Remove a file where that is possible."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._fd)

    def prune(self, entries: int, size: int) -> None:
        """Remove what was not used for the longest time beyond so many files and bytes."""
        found = sorted(filter(None, map(self._look, self.names())), reverse=True)
        forgotten = time.time() - _BEGUN_FOR
        for number, file in enumerate(found):
            size -= file.size
            begun = file.name.startswith(_BEGUN)
            if (file.used < forgotten) if begun else (number >= entries or size < 0):
                self.remove(file.name)

    def _look(self, name: str) -> "_File | None":
        try:
            status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError:  # another process has removed it
            return None
        return _File(status.st_mtime, status.st_size, name)


class _File(NamedTuple):
    used: float
    size: int
    name: str


def digest(data: bytes) -> bytes:
    """Return 32 bytes that no other data has (BLAKE2b)."""
    return bytes(blake2b(data, digest_size=_DIGEST_SIZE).digest())


def seal(magic: bytes, content: bytes) -> bytes:
    """Return what to write for ``content``: ``magic`` says of what kind it is."""
    return magic + digest(content) + content


def unseal(magic: bytes, data: bytes) -> bytes:
    """Return the content. Raises ValueError where it is damaged, or of another kind."""
    start = len(magic)
    content = data[start + _DIGEST_SIZE :]
    if data[:start] != magic or data[start : start + _DIGEST_SIZE] != digest(content):
        raise ValueError("damaged")
    return content


def _cache_home() -> Path:
    """Return the folder for all caches of the user (XDG Base Directory Specification)."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # Relative ones are invalid, and to be ignored.
    if named.is_absolute():
        return named
    home = Path(os.environ.get("HOME", ""))
    if not home.is_absolute():
        raise FileNotFoundError(errno.ENOENT, "neither HOME nor XDG_CACHE_HOME says where")
    return home / ".cache"


def _open_base(path: Path) -> int:
    # This one may be a link, and may be open to a group: what counts is what is below it.
    try:
        fd = os.open(path, _FOLDER)
    except FileNotFoundError:
        parent = os.open(path.parent, _FOLDER)
        try:
            _check_owner(os.fstat(parent), path.parent, private=False)
            _make(path.name, parent)
            fd = os.open(path.name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)
    try:
        _check_owner(os.fstat(fd), path, private=False)
    except OSError:
        os.close(fd)
        raise
    return fd


def _open_private(parent: int, name: str) -> int:
    _make(name, parent)
    fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    try:
        _check_owner(os.fstat(fd), name)
    except OSError:
        os.close(fd)
        raise
    return fd


def _make(name: str, parent: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)


def _check_owner(status: os.stat_result, path: Path | str, *, private: bool = True) -> None:
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "belongs to another user", str(path))
    if private and status.st_mode & _OTHERS_WRITE:
        raise PermissionError(errno.EPERM, "others may write there", str(path))
