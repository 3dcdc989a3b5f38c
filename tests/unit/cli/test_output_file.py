"""Files that commands write: whole or not at all, and never the input."""

import os
import pty
import threading
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.cli.output_file import binary_stdout, refuse_same_file, replacing
from retis_py.errors import RetisError, UsageError


def test_a_new_file(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with replacing(tmp_path / "new") as file:
            file.write(b"data")
            assert not (tmp_path / "new").exists()
    finally:
        os.umask(umask)
    assert (tmp_path / "new").read_bytes() == b"data"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_an_older_file_keeps_its_owner(tmp_path: Path) -> None:
    require("root")
    path = tmp_path / "old"
    path.write_bytes(b"older")
    os.chown(path, 65534, 65533)
    with replacing(path) as file:
        file.write(b"data")
    assert path.read_bytes() == b"data"
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


def test_a_link_in_a_folder_that_all_may_write_to(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "victim").write_bytes(b"precious")
    link = tmp_path / "shared" / "out"
    link.symlink_to(tmp_path / "victim")
    with (
        pytest.raises(RetisError, match=r"^cannot write \S+: it is a symbolic link in a folder"),
        replacing(link),
    ):
        pass
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["out"]


def test_an_older_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"older and longer")
    path.chmod(0o604)
    with replacing(path) as file:
        file.write(b"data")
        assert path.read_bytes() == b"older and longer"
    assert path.read_bytes() == b"data"
    assert path.stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("error", [RetisError("bad input"), KeyboardInterrupt()])
def test_what_fails_leaves_everything_as_it_was(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"older")
    with pytest.raises(type(error)), replacing(path) as file:
        file.write(b"data")
        raise error
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"older")
    (tmp_path / "link").symlink_to("file")
    with replacing(tmp_path / "link") as file:
        file.write(b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"data"


def test_a_dangling_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with replacing(tmp_path / "link") as file:
        file.write(b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"data"


def test_a_fifo_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with replacing(path) as file:
        file.write(b"data")
    reader.join()
    assert read == [b"data"]
    assert path.is_fifo()


def test_a_device_stays_one() -> None:
    with replacing(Path("/dev/null")) as file:
        file.write(b"data")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "Is a directory"),
        ("nope/file", "No such file or directory"),
        ("x" * 300, "File name too long"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_what_cannot_be_created(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(RetisError) as caught, replacing(tmp_path / path):
        pass
    assert str(caught.value).startswith(f"cannot write {tmp_path}")
    assert reason in str(caught.value)


def test_a_full_device() -> None:
    with (
        pytest.raises(RetisError, match=r"^cannot write /dev/full: No space left on device$"),
        replacing(Path("/dev/full")) as file,
    ):
        file.write(b"data")


def test_the_same_file(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.touch()
    (tmp_path / "symbolic").symlink_to("file")
    (tmp_path / "hard").hardlink_to(source)
    for name in ("file", "symbolic", "hard"):
        with pytest.raises(UsageError, match="is the input itself"):
            refuse_same_file(source, tmp_path / name)
    (tmp_path / "copy").touch()
    refuse_same_file(source, tmp_path / "copy")
    refuse_same_file(source, tmp_path / "new")
    refuse_same_file(tmp_path / "new", tmp_path / "new")
    refuse_same_file(Path("/dev/null"), Path("/dev/null"))


def test_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(RetisError, match="standard output is closed"):
        binary_stdout("a capture file")
    outer, inner = pty.openpty()
    with os.fdopen(inner, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        with pytest.raises(UsageError, match=r"^a capture file would garble"):
            binary_stdout("a capture file")
    os.close(outer)
