"""Which capabilities each of the two processes goes on with once all is attached and open.

Attaching is what needs most of them. What was opened and loaded stays usable, so that the process
that drains goes on with few or none, and the one that decodes, which looks at what others have
sent, with none but what its options ask for (docs/privileges.md).
"""

import logging
import os
import resource
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from msgspec import Struct

from retis_py.kernel import capabilities
from retis_py.kernel.capabilities import Capability, capability_name
from retis_py.private_files import calling_user

log = logging.getLogger(__name__)


class Trial(Struct, frozen=True):
    """Something that must go on to work; where it does not without, ``needs`` are kept."""

    works: Callable[[], bool]
    needs: frozenset[Capability]


def give_up_privileges(kept: Collection[Capability], trials: Iterable[Trial] = ()) -> None:
    """Give up, for good, all capabilities but ``kept`` and what trials show to be needed.

    For the calling thread and those that it starts.
    """
    keep = set(kept)
    try:
        for trial in trials:
            capabilities.set_effective(keep)
            if not trial.works():
                keep |= trial.needs
        capabilities.keep_only(keep)
    except OSError as error:
        log.debug("capabilities are kept: %s", error.strerror)
    else:
        left = ", ".join(map(capability_name, sorted(capabilities.effective())))
        log.debug("capabilities left: %s", left or "none")


def writes_to(folder: Path) -> Trial:
    """Return the trial for files that are yet to be made in a folder."""
    return Trial(
        lambda: os.access(folder, os.W_OK | os.X_OK, effective_ids=True),
        frozenset({Capability.DAC_OVERRIDE}),
    )


def removes_from(folder: Path) -> list[Trial]:
    """Return the trials for a file that we made in a folder, and are to remove from there."""
    trials = [writes_to(folder)]
    if calling_user() is not None:  # others' files may not be removed from sticky folders
        trials.append(Trial(lambda: _is_own_or_plain(folder), frozenset({Capability.FOWNER})))
    return trials


def locked_memory() -> frozenset[Capability]:
    """Return what memory that is locked needs to grow."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return frozenset() if limit == resource.RLIM_INFINITY else frozenset({Capability.IPC_LOCK})


def _is_own_or_plain(folder: Path) -> bool:
    status = folder.stat()
    return not status.st_mode & stat.S_ISVTX or status.st_uid == os.geteuid()
