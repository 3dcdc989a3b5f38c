"""The wheel holds what is not Python too: the program's pieces and the profiles."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    [wheel] = tmp_path.glob("retis_py-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    for folder in ("bpf", "profiles"):
        files = [p for p in (ROOT / folder).rglob("*") if p.is_file()]
        assert files
        for path in files:
            assert f"retis_py/data/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "retis_py").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names
    assert not any(name.startswith(("tests/", "bench/", "docs/")) for name in names)
