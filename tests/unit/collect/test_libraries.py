import ctypes
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from retis_py.collect.libraries import find_bcc, find_libbpf
from retis_py.kernel import libbpf


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    spec = ModuleSpec("bcc", None, origin=str(folder / "__init__.py")) if folder else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)


def test_here() -> None:
    """Without importing it."""
    found = find_bcc()
    assert (found.name, found.missing) == ("BCC", None)
    assert "bcc" not in sys.modules
    version = find_libbpf().version
    assert version is not None
    assert version.startswith("1.")


@pytest.mark.parametrize("stranger", [False, True])
def test_no_bcc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stranger: bool) -> None:
    """Nor is a package of that name that is something else."""
    pretend(monkeypatch, tmp_path if stranger else None)
    found = find_bcc()
    assert found.version is None
    assert found.missing is not None
    assert found.missing.startswith("cannot import bcc, which compiles the program: install it")
    assert found.missing.endswith(f"{sys.executable} does not")


@pytest.mark.parametrize(
    ("text", "version", "note"),
    [
        ("__version__ = '0.26.0'\n", "0.26.0", None),
        ('# built\n__version__ = "0.35.0+abc"\n', "0.35.0+abc", None),
        ("__version__ = '@REVISION@'\n", None, "/version.py has none"),
        ("", None, "/version.py has none"),
        (None, None, "No such file or directory"),
    ],
)
def test_version(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    text: str | None,
    version: str | None,
    note: str | None,
) -> None:
    (tmp_path / "libbcc.py").touch()
    if text is not None:
        (tmp_path / "version.py").write_text(text)
    pretend(monkeypatch, tmp_path)
    found = find_bcc()
    assert (found.version, found.missing) == (version, None)
    assert (found.note is None) == (note is None)
    assert note is None or note in (found.note or "")


def test_no_libbpf(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **_: object) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    libbpf.library.cache_clear()
    found = find_libbpf()
    assert found.version is None
    assert "install it (Debian: apt-get install libbpf1)" in (found.missing or "")
