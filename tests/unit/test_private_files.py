"""Files that commands make: whose they are, and what is not written to."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.private_files import Owner, calling_user, create, open_for_writing, resolve

NOBODY = 65534
DATA = b"data"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that everybody may write to."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    require("root")
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY - 1))
    yield


def write(path: Path) -> None:
    with os.fdopen(open_for_writing(path), "wb") as file:
        file.write(DATA)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o22, 0o777])
def test_new_file_is_private(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o600 & ~mask
    assert (tmp_path / "new").stat().st_size == len(DATA)


def test_existing_file_keeps_its_mode_and_loses_its_content(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(DATA * 100)
    path.chmod(0o644)
    write(path)
    assert path.read_bytes() == DATA
    assert mode(path) == 0o644


def test_links_are_followed_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "second").symlink_to("target")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    (tmp_path / "dangling").symlink_to("made")
    write(tmp_path / "first")
    write(tmp_path / "dangling")
    assert (tmp_path / "target").read_bytes() == (tmp_path / "made").read_bytes() == DATA
    assert (tmp_path / "first").is_symlink()


def test_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        open_for_writing(tmp_path / "loop")


@pytest.mark.parametrize("dangling", [False, True])
def test_link_in_a_shared_folder(tmp_path: Path, shared: Path, dangling: bool) -> None:
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_bytes(b"precious")
    (shared / "out").symlink_to(victim)
    (tmp_path / "mine").symlink_to(shared / "out")
    for path in (shared / "out", tmp_path / "mine"):
        with pytest.raises(PermissionError, match="symbolic link in a folder that everybody may"):
            open_for_writing(path)
    assert not victim.exists() if dangling else victim.read_bytes() == b"precious"


def test_link_in_a_shared_folder_that_is_not_sticky(tmp_path: Path, shared: Path) -> None:
    shared.chmod(0o777)
    (shared / "out").symlink_to(tmp_path / "victim")
    with pytest.raises(PermissionError, match="symbolic link"):
        open_for_writing(shared / "out")


def test_hard_link_in_a_shared_folder(tmp_path: Path, shared: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (shared / "out").hardlink_to(tmp_path / "victim")
    with pytest.raises(PermissionError, match="hard link in a folder"):
        open_for_writing(shared / "out")
    write(tmp_path / "victim")  # by its name that is no trap


def test_what_others_left_in_a_shared_folder(shared: Path) -> None:
    require("root")
    (shared / "file").write_bytes(b"")
    os.mkfifo(shared / "pipe")
    for path in (shared / "file", shared / "pipe"):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o666)
        with pytest.raises(PermissionError, match="belongs to another user, in a folder that"):
            open_for_writing(path)


def test_what_the_calling_user_left_in_a_shared_folder(shared: Path, sudo: None) -> None:
    (shared / "file").write_bytes(b"")
    os.chown(shared / "file", NOBODY, NOBODY)
    write(shared / "file")
    assert (shared / "file").read_bytes() == DATA


def test_own_files_in_a_shared_folder(shared: Path) -> None:
    write(shared / "out")
    write(shared / "out")
    assert (shared / "out").read_bytes() == DATA


def test_own_pipe_in_a_shared_folder(shared: Path) -> None:
    os.mkfifo(shared / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((shared / "pipe").read_bytes()))
    reader.start()
    write(shared / "pipe")
    reader.join(10)
    assert read == [DATA]


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full"])
def test_devices(path: str) -> None:
    require("root")
    before = Path(path).stat().st_ino
    os.close(open_for_writing(Path(path)))
    assert Path(path).stat().st_ino == before


def test_links_of_procfs(tmp_path: Path) -> None:
    """What /dev/stdout leads to is no path where that is a pipe."""
    reader, writer = os.pipe()
    try:
        write(Path(f"/dev/fd/{writer}"))
        assert os.read(reader, 100) == DATA
    finally:
        os.close(reader)
        os.close(writer)
    with (tmp_path / "file").open("wb") as file:
        write(Path(f"/proc/self/fd/{file.fileno()}"))
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("name", ["", "/", ".", ".."])
def test_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(IsADirectoryError):
        open_for_writing(tmp_path / name if name == ".." else Path(name))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_for_writing(tmp_path / "no" / "file")


def test_create_takes_nothing_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(FileExistsError):
        create(tmp_path / "link")
    assert not (tmp_path / "target").exists()


def test_new_files_belong_to_the_calling_user(tmp_path: Path, sudo: None) -> None:
    os.close(create(tmp_path / "made"))
    write(tmp_path / "written")
    for name in ("made", "written"):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY - 1)
        assert stat.S_IMODE(status.st_mode) == 0o600


def test_old_files_stay_whose_they_are(tmp_path: Path, sudo: None) -> None:
    (tmp_path / "old").write_bytes(b"")
    write(tmp_path / "old")
    assert (tmp_path / "old").stat().st_uid == 0


@pytest.mark.parametrize(
    ("uid", "gid", "owner"),
    [
        ("1000", "100", Owner(1000, 100)),
        ("0", "0", None),
        ("1000", "", None),
        ("", "100", None),
        ("-1", "100", None),
        ("²", "100", None),
        ("1000 ", "100", None),
        ("4294967296", "100", None),
    ],
)
def test_calling_user(
    monkeypatch: pytest.MonkeyPatch, uid: str, gid: str, owner: Owner | None
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", gid)
    assert calling_user() == owner


def test_only_root_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("SUDO_UID", "1001")
    monkeypatch.setenv("SUDO_GID", "1001")
    assert calling_user() is None


def test_replaced_while_it_was_looked_at(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening a link is put there: it is not followed."""
    victim = shared / "victim"
    victim.write_bytes(b"precious")
    path = shared / "out"
    path.write_bytes(b"")
    looks = []

    def look(asked: Path) -> object:
        found = resolve(asked)
        if not looks:
            path.unlink()
            path.symlink_to(victim)
        looks.append(found)
        return found

    monkeypatch.setattr("retis_py.private_files.resolve", look)
    with pytest.raises(PermissionError, match="symbolic link"):
        open_for_writing(path)
    assert victim.read_bytes() == b"precious"
    assert len(looks) == 1
