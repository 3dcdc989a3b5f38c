"""The checkout for other users, where a folder above it, as root's home, keeps them out.

Tests run retis as a user without privileges. The way to it is opened in a mount namespace, of this
process and all that it starts: on the machine nothing changes.
"""

import ctypes
import os
import stat
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

_CLONE_NEWNS = 0x20000  # include/uapi/linux/sched.h


def open_checkout(checkout: Path = ROOT) -> None:
    """Let others in, as far as the modes of the files in it allow; as root.

    Raises:
        OSError: there can be no such namespace here.
    """
    closed = [folder for folder in reversed(checkout.parents) if _is_closed(folder)]
    if not closed:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _mount("--make-rprivate", "/")
    here = Path.cwd()
    for folder in closed:
        _open(folder)
    os.chdir(here)  # the same, by the way that is open now


def _is_closed(folder: Path) -> bool:
    return not folder.stat().st_mode & stat.S_IXOTH


def _open(folder: Path) -> None:
    """Put another folder in its place in which all is that was in it."""
    descriptor = os.open(folder, os.O_PATH)
    try:
        covered = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        _mount("-t", "tmpfs", "-o", "mode=755", "none", str(folder))
        for entry in covered.iterdir():
            place = folder / entry.name
            if entry.is_symlink():
                place.symlink_to(entry.readlink())
                continue
            if entry.is_dir():
                place.mkdir()
            else:
                place.touch()
            # As it stands: by its name the source would be the place that covers it.
            _mount("--no-canonicalize", "--rbind", str(entry), str(place))
    finally:
        os.close(descriptor)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
