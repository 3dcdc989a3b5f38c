"""A temporary folder that is not left for good: what a killed run leaves, the next one removes.

It is locked (flock) as long as its owner lives, whatever process ids mean here and elsewhere: a
container may share the host's /tmp.
"""

import atexit
import fcntl
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from retis_py.events.escape import escape
from retis_py.held_signals import held_signals

log = logging.getLogger(__name__)

PREFIX = "retis-compile-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OwnFolder:
    """A new folder in the one for temporary files, readable by this user only.

    The end of the process removes it too, other than by a kill.

    Raises OSError where there is no room for one.
    """

    def __init__(self) -> None:
        self._lock = -1
        with held_signals():
            while self._lock < 0:
                self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
                # It fails where another start has taken the folder for a left one.
                self._lock = _lock(self.path, wait=True)
            atexit.register(self.remove)

    def remove(self) -> None:
        """Remove it with all that is in it; may be called again."""
        with held_signals():
            if self._lock >= 0:
                _remove(self.path)
                os.close(self._lock)
                self._lock = -1
                atexit.unregister(self.remove)


def remove_left_folders() -> None:
    """Remove those that killed runs of this user left, and say so."""
    try:
        found = os.scandir(tempfile.gettempdir())
        names = [entry.name for entry in found if entry.name.startswith(PREFIX)]
    except OSError as error:
        log.debug("what an interrupted run left is not looked for: %s", error)
        return
    for name in names:
        path = Path(tempfile.gettempdir(), name)
        if (lock := _lock(path)) < 0:
            continue
        try:
            _remove(path)
            if not path.exists():
                log.info("removed %s, which an interrupted run left", escape(str(path)))
        finally:
            os.close(lock)


def _remove(path: Path) -> None:
    """Remove a folder, or of it what can be."""
    # Where machines share a file system another one may remove it meanwhile, and what is opened
    # is nowhere to be found at the next look: that is an error which rmtree() does not ignore.
    with suppress(OSError):
        shutil.rmtree(path, ignore_errors=True)


def _lock(path: Path, *, wait: bool = False) -> int:
    """Return a locked descriptor of our own folder; -1 where it is locked, gone or not ours."""
    try:
        descriptor = os.open(path, _FOLDER)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and os.path.samestat(status, path.lstat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return -1
