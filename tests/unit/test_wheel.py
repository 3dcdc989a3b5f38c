"""The wheel holds what is not Python too: the program's pieces, the profiles, the compiled part."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = "retis_py/_compiled.so"
# What the build needs of the checkout; elsewhere, so that nothing changes under other tests.
SOURCES = ("bpf", "man", "profiles", "retis_py", "README.md", "LICENSE", "pyproject.toml")

# The environment's CC, and what the name of the wheel says then.
COMPILERS = [("cc", "-linux_"), ("no-such-compiler", "-none-any"), ("false", "-none-any")]


@pytest.mark.parametrize(("compiler", "tag"), COMPILERS)
def test_wheel(tmp_path: Path, compiler: str, tag: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in (*SOURCES, "hatch_build.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    for name in ("tests", "bench", "docs"):
        (source / name).mkdir()
        (source / name / "module.py").touch()
    (source / LIBRARY).unlink(missing_ok=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "RETIS_PURE_PYTHON"}
    subprocess.run(
        [*command, str(source)], check=True, capture_output=True, env=environment | {"CC": compiler}
    )
    [wheel] = tmp_path.glob("retis_py-*.whl")
    assert tag in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())

    for folder in ("bpf", "profiles"):
        files = [p for p in (ROOT / folder).rglob("*") if p.is_file()]
        assert files
        for path in files:
            assert f"retis_py/data/{path.relative_to(ROOT)}" in names
    assert {name for name in names if name.endswith("/share/man/man1/retis-collect.1")}
    for path in (ROOT / "retis_py").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names
    assert not any(
        name.startswith(("tests/", "bench/", "docs/", "retis_py/native/")) for name in names
    )
    assert (LIBRARY in names) == (compiler == "cc")
