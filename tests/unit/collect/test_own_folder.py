"""Temporary folders that outlive nobody for long."""

import errno
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from retis_py.collect.own_folder import PREFIX, OwnFolder, remove_left_folders


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path


@pytest.fixture
def left(temporary: Path) -> Path:
    """A folder whose owner was killed."""
    pid = os.fork()
    if pid == 0:
        folder = OwnFolder()
        (folder.path / "include").mkdir()
        (folder.path / "include" / "types.h").write_text("typedef int pid_t;")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    [path] = temporary.iterdir()
    return path


def test_removed_by_its_owner(temporary: Path) -> None:
    folder = OwnFolder()
    (folder.path / "file").write_text("x")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.remove()
    folder.remove()
    assert not list(temporary.iterdir())


INTERRUPTED = """
import os, signal, sys, tempfile
from retis_py.collect.own_folder import OwnFolder

def mkdtemp(**arguments):
    path = made(**arguments)
    assert os.path.isdir(path)
    os.kill(os.getpid(), number)
    return path

number = int(sys.argv[1])
signal.signal(number, signal.default_int_handler)
made, tempfile.mkdtemp = tempfile.mkdtemp, mkdtemp
try:
    OwnFolder()
except KeyboardInterrupt:
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_made(number: int, temporary: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(int(number))],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"TMPDIR": str(temporary)},
        check=False,
    )
    assert ended.returncode == 130
    assert not list(temporary.iterdir())


def test_left_one_is_removed_and_said(left: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        remove_left_folders()
    assert not left.exists()
    assert f"removed {left}, which an interrupted run left" in caplog.text


def test_one_that_another_machine_removes_meanwhile(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As seen on 9p, where what is open cannot be looked at once the server has it no more."""
    really = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.name == "include":
            (path / "types.h").unlink()
            path.rmdir()
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return really(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    remove_left_folders()
    assert not (left / "include").exists()


def test_one_in_use_stays(temporary: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = OwnFolder()
    with caplog.at_level(logging.INFO):
        remove_left_folders()
    assert folder.path.exists()
    assert not caplog.text
    folder.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
def test_those_of_others_stay(left: Path, temporary: Path) -> None:
    """Another user's, a link to a folder of ours, a file, and what only looks alike."""
    other = temporary / f"{PREFIX}other"
    other.mkdir()
    os.chown(other, 65534, 65534)
    target = temporary / "target"
    target.mkdir()
    (temporary / f"{PREFIX}link").symlink_to(target)
    (temporary / f"{PREFIX}file").write_text("x")
    (temporary / "retis-run-1").mkdir()
    remove_left_folders()
    names = {"other": other, "target": target, "run": temporary / "retis-run-1"}
    assert all(path.exists() for path in names.values())
    assert (temporary / f"{PREFIX}file").exists()
    assert (temporary / f"{PREFIX}link").is_symlink()
    assert not left.exists()


def test_folder_for_temporary_files_is_gone(temporary: Path) -> None:
    temporary.rmdir()
    remove_left_folders()
    temporary.mkdir()
