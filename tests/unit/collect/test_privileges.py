"""What is kept of privileges: by processes of their own, which lose the others for good."""

import os
import resource
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect.privileges import (
    Trial,
    give_up_privileges,
    locked_memory,
    removes_from,
    writes_to,
)
from retis_py.kernel.capabilities import Capability, effective

NOBODY = 65534


def in_a_child(does: Callable[[], object]) -> None:
    """Run it in a process whose privileges are its own to lose."""
    require("root")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            does()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def left(*trials: Trial, kept: tuple[Capability, ...] = ()) -> frozenset[int]:
    give_up_privileges(kept, trials)
    return effective()


def test_none_without_trials() -> None:
    def check() -> None:
        assert left() == set()

    in_a_child(check)


def test_what_works_without_is_not_kept() -> None:
    def check() -> None:
        seen = []

        def works() -> bool:
            seen.append(effective())
            return True

        trial = Trial(works, frozenset({Capability.BPF}))
        assert left(trial, kept=(Capability.KILL,)) == {Capability.KILL}
        assert seen == [{Capability.KILL}]

    in_a_child(check)


def test_what_does_not_work_is_kept_for_those_that_follow() -> None:
    def check() -> None:
        fails = Trial(lambda: False, frozenset({Capability.BPF}))
        wants = Trial(lambda: Capability.BPF in effective(), frozenset({Capability.KILL}))
        assert left(fails, wants) == {Capability.BPF}

    in_a_child(check)


@pytest.mark.parametrize(
    ("mode", "owner", "kept"),
    [(0o700, 0, set()), (0o700, NOBODY, {Capability.DAC_OVERRIDE}), (0o777, NOBODY, set())],
)
def test_folder_to_write_to(tmp_path: Path, mode: int, owner: int, kept: set[int]) -> None:
    tmp_path.chmod(mode)
    os.chown(tmp_path, owner, owner)

    def check() -> None:
        assert left(writes_to(tmp_path)) == kept
        (tmp_path / "file").touch()

    in_a_child(check)


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o1755, 0o755])
@pytest.mark.parametrize("folder_owner", [0, NOBODY, NOBODY - 1])
def test_file_to_remove(
    tmp_path: Path, mode: int, folder_owner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the folder, the file that was given to the calling user can be removed."""
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY))
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    (folder / "spool").touch()
    for path in (folder, folder / "spool"):
        os.chown(path, folder_owner if path == folder else NOBODY, -1)

    def check() -> None:
        kept = left(*removes_from(folder))
        assert kept <= {Capability.DAC_OVERRIDE, Capability.FOWNER}
        assert not kept or folder_owner != 0
        (folder / "spool").unlink()

    in_a_child(check)


@pytest.mark.parametrize("limit", [1 << 23, resource.RLIM_INFINITY])
def test_locked_memory(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    needed = set() if limit == resource.RLIM_INFINITY else {Capability.IPC_LOCK}
    assert locked_memory() == needed
