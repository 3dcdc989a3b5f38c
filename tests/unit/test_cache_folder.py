"""The user's own folder: what is written there comes back, and what is not safe is not used."""

import os
import stat
import time
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.cache_folder import CacheFolder

NOBODY = 65534
LIMIT = 1000


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for all caches."""
    base = tmp_path / "cache"
    base.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(base))
    return base


@pytest.mark.usefixtures("open_descriptors")
def test_written_and_read(base: Path) -> None:
    with CacheFolder("things") as folder:
        folder.write("one", b"1" * LIMIT)
        folder.write("one", b"2")
        folder.write("two", b"")
        assert sorted(folder.names()) == ["one", "two"]
        assert (folder.read("one", LIMIT), folder.read("two", LIMIT)) == (b"2", b"")
        folder.remove("one")
        folder.remove("never there")
        assert folder.names() == ["two"]
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (base / "retis-py").rglob("*")
    }
    assert modes == {"things": 0o700, "two": 0o600}


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize("mask", [0, 0o22, 0o777])
def test_permissions_whatever_the_umask(base: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with CacheFolder("things") as folder:
            folder.write("one", b"1")
    except PermissionError:
        assert mask == 0o777  # folders that not even we may open
    finally:
        os.umask(before)
    for path in base.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o77


def test_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which is to be ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    CacheFolder("things").close()
    assert [path.name for path in tmp_path.iterdir()] == [".cache"]
    assert (tmp_path / ".cache/retis-py/things").is_dir()


@pytest.mark.parametrize("home", ["", "relative", "/nonexistent/home"])
def test_no_home(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", home)
    with pytest.raises(FileNotFoundError):
        CacheFolder("things")


@pytest.mark.usefixtures("open_descriptors")
@pytest.mark.parametrize("which", ["", "retis-py", "retis-py/things"])
def test_folders_of_another_user(base: Path, which: str) -> None:
    require("root")
    CacheFolder("things").close()
    os.chown(base / which, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="belongs to another user"):
        CacheFolder("things")


def test_home_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left in it that its owner could not remove."""
    require("root")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    os.chown(tmp_path, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="belongs to another user"):
        CacheFolder("things")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("open_descriptors")
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
@pytest.mark.parametrize("which", ["retis-py", "retis-py/things"])
def test_folders_that_others_may_write_to(base: Path, which: str, mode: int) -> None:
    CacheFolder("things").close()
    (base / which).chmod(mode)
    with pytest.raises(PermissionError, match="others may write"):
        CacheFolder("things")


@pytest.mark.parametrize("which", ["retis-py", "retis-py/things"])
def test_links_to_folders(base: Path, tmp_path: Path, which: str) -> None:
    CacheFolder("things").close()
    (base / which).rename(tmp_path / "elsewhere")
    (base / which).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        CacheFolder("things")


def test_the_folder_for_all_caches_may_be_a_link(base: Path, tmp_path: Path) -> None:
    base.rmdir()
    (tmp_path / "large-disk").mkdir(mode=0o770)
    base.symlink_to(tmp_path / "large-disk")
    with CacheFolder("things") as folder:
        folder.write("one", b"1")
    assert (tmp_path / "large-disk/retis-py/things/one").read_bytes() == b"1"


@pytest.mark.usefixtures("open_descriptors")
def test_files_that_we_did_not_write(base: Path) -> None:
    path = base / "retis-py/things"
    with CacheFolder("things") as folder:
        (path / "target").write_bytes(b"1")
        (path / "link").symlink_to("target")
        (path / "folder").mkdir(mode=0o700)
        os.mkfifo(path / "pipe", 0o600)
        (path / "open").write_bytes(b"1")
        (path / "open").chmod(0o622)
        (path / "large").write_bytes(bytes(LIMIT + 1))
        for name in ("link", "folder", "pipe", "open", "large", "none"):
            with pytest.raises(OSError, match=name):
                folder.read(name, LIMIT)
        # All but folders are replaced.
        for name in ("link", "pipe", "open", "large"):
            folder.write(name, b"new")
            assert folder.read(name, LIMIT) == b"new"
        with pytest.raises(IsADirectoryError):
            folder.write("folder", b"new")
        assert not [name for name in folder.names() if name.startswith(".")]
        assert (path / "target").read_bytes() == b"1"


def test_a_file_of_another_user(base: Path) -> None:
    require("root")
    with CacheFolder("things") as folder:
        folder.write("one", b"1")
        os.chown(base / "retis-py/things/one", NOBODY, NOBODY)
        with pytest.raises(PermissionError, match="belongs to another user"):
            folder.read("one", LIMIT)


def test_the_last_used_stay(base: Path) -> None:
    now = time.time()
    with CacheFolder("things") as folder:
        for age, name in enumerate(["a", "b", "c", "d", "e"]):
            folder.write(name, bytes(100))
            os.utime(base / "retis-py/things" / name, (now - 50 + age,) * 2)
        folder.read("a", LIMIT)
        folder.prune(entries=4, size=10_000)
        assert sorted(folder.names()) == ["a", "c", "d", "e"]
        folder.prune(entries=4, size=250)
        assert sorted(folder.names()) == ["a", "e"]
        folder.prune(entries=4, size=0)
        assert folder.names() == []


def test_what_a_killed_process_began_is_removed(base: Path) -> None:
    with CacheFolder("things") as folder:
        for name, age in ((".begun-1-1", 4000), (".begun-2-2", 10)):
            folder.write(name, b"half")
            os.utime(base / "retis-py/things" / name, (time.time() - age,) * 2)
        folder.prune(entries=1, size=10_000)
        assert folder.names() == [".begun-2-2"]
