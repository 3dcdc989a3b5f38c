"""What is remembered of profile files between starts."""

import sys
from pathlib import Path

import pytest

from retis_py.profiles import tree, yaml_tree
from retis_py.profiles.tree import Node, YamlTreeError, read_documents
from retis_py.resources import profiles_dir

TEXT = b"""\
name: one
list: [a, ~, {b: "x\\n"}]
---
name: two
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "retis-py/profiles"


@pytest.fixture
def without_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the library could not be imported."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "retis_py.profiles.yaml_tree")


def only(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def parsed(data: bytes) -> list[Node]:
    """What the second time gives, which does not parse."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "yaml", None)
        patch.delitem(sys.modules, "retis_py.profiles.yaml_tree", raising=False)
        return read_documents(data)


@pytest.mark.usefixtures("kept", "open_descriptors")
def test_every_shipped_profile_is_as_parsed() -> None:
    files = list(profiles_dir().glob("*.yaml"))
    assert files
    for file in files:
        data = file.read_bytes()
        assert read_documents(data) == yaml_tree.parse_documents(data)
        assert parsed(data) == yaml_tree.parse_documents(data)


@pytest.mark.usefixtures("kept")
def test_another_text_is_another_entry() -> None:
    read_documents(TEXT)
    read_documents(TEXT + b"more: of it")
    assert [node.line for node in parsed(TEXT)] == [1, 4]
    assert len(parsed(TEXT + b"more: of it")[1].value or "") == 2


@pytest.mark.usefixtures("without_yaml")
def test_library_is_needed_for_what_is_new(kept: Path) -> None:
    with pytest.raises(ImportError):
        read_documents(TEXT)
    assert not list(kept.iterdir())


@pytest.mark.parametrize("damage", [slice(0, 5), slice(-5, None), slice(20, 30)])
def test_damaged_entry_is_made_again(kept: Path, damage: slice) -> None:
    expected = read_documents(TEXT)
    whole = only(kept).read_bytes()
    damaged = bytearray(whole)
    damaged[damage] = bytes(len(damaged[damage]))
    for content in (bytes(damaged), whole[: len(whole) // 2], b""):
        only(kept).write_bytes(content)
        assert read_documents(TEXT) == expected
        assert only(kept).read_bytes() == whole


def test_entry_that_others_may_write_is_not_read(kept: Path) -> None:
    read_documents(TEXT)
    only(kept).chmod(0o666)
    with pytest.raises(ImportError):
        parsed(TEXT)
    read_documents(TEXT)
    assert parsed(TEXT)


def test_errors_are_not_kept(kept: Path) -> None:
    for _ in range(2):
        with pytest.raises(YamlTreeError):
            read_documents(b"a: [")
    assert not list(kept.iterdir())


def test_what_aliases_would_blow_up_is_not_kept(kept: Path) -> None:
    lines = [b"a: &a [x, x, x, x, x, x]"]
    for before, name in zip(b"abcde", b"bcdef", strict=True):
        lines.append(b"%c: &%c [%b]" % (name, name, b", ".join([b"*%c" % before] * 12)))
    assert read_documents(b"\n".join(lines))
    assert not list(kept.iterdir())


def test_too_large_to_keep(kept: Path) -> None:
    assert read_documents(b"about: " + b"x" * tree.MAX_ENTRY)
    assert not list(kept.iterdir())


def test_so_many_are_kept(kept: Path) -> None:
    for number in range(tree.MAX_ENTRIES + 3):
        read_documents(b"name: %d" % number)
    assert len(list(kept.iterdir())) == tree.MAX_ENTRIES


def test_no_folder_to_keep_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    assert len(read_documents(TEXT)) == 2
