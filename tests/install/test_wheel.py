"""What is in the source distribution and the wheel, and that they can be built anywhere."""

import hashlib
import subprocess
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from hatch_build import CustomBuildHook
from lab import capabilities, installed
from lab.installed import ROOT
from retis_py import __version__

LIBRARY = "retis_py/_compiled.so"

# The environment's CC, and what the name of the wheel says then.
COMPILERS = [
    ("cc", "py3-none-linux_"),
    ("no-such-compiler", "py3-none-any"),
    ("false", "py3-none-any"),
]


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("compiler", "tag"), COMPILERS)
def test_wheel_of_the_sdist(unpacked: Path, tmp_path: Path, compiler: str, tag: str) -> None:
    wheel, said = installed.build("wheel", unpacked, tmp_path, CC=compiler)
    assert wheel.name.startswith(f"retis_py-{__version__}-{tag}")
    assert ("no compiled part, all is done in Python" in said) == (compiler != "cc")
    names = set(zipfile.ZipFile(wheel).namelist())

    for folder in ("bpf", "profiles"):
        files = [p for p in (ROOT / folder).rglob("*") if p.is_file()]
        assert files
        for path in files:
            assert f"retis_py/data/{path.relative_to(ROOT)}" in names
    for path in (*(ROOT / "retis_py").rglob("*.py"), ROOT / "retis_py" / "py.typed"):
        assert str(path.relative_to(ROOT)) in names
    packed = f"retis_py-{__version__}.d"
    assert not [n for n in names if not n.startswith(("retis_py/", packed))]
    for path in (ROOT / "docs" / "man").iterdir():
        assert f"{packed}ata/data/share/man/man1/{path.name}" in names
    assert not [n for n in names if n.startswith("retis_py/native/")]
    assert (LIBRARY in names) == (compiler == "cc")


def test_sdist_holds_what_is_in_the_checkout(unpacked: Path) -> None:
    assert unpacked.name == f"retis_py-{__version__}"
    for name in ("bpf", "profiles", "retis_py", "tests", "docs", "scripts"):
        wanted = {p.relative_to(ROOT) for p in (ROOT / name).rglob("*") if p.is_file()}
        wanted = {p for p in wanted if p.suffix != ".so" and "__pycache__" not in p.parts}
        found = {p.relative_to(unpacked) for p in (unpacked / name).rglob("*") if p.is_file()}
        assert found == wanted
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "Makefile", "Containerfile"):
        assert (unpacked / name).is_file()
    assert not list(unpacked.rglob("*.so"))


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = f"retis_py-{__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{packed}/METADATA").decode())
        licence = archive.read(f"{packed}/licenses/LICENSE")
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "GPL-2.0-only"
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert metadata["Requires-Python"] == ">=3.11"
    required = {
        line.split(">")[0] for line in metadata.get_all("Requires-Dist") if "extra" not in line
    }
    assert required == {"click", "msgspec", "pyroute2", "pyyaml"}


def test_sdist_twice_the_same(source: Path, sdist: Path, tmp_path: Path) -> None:
    assert hash_of(installed.build("sdist", source, tmp_path)[0]) == hash_of(sdist)


def test_wheel_twice_the_same(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """Built in another folder, which is read-only, and where a library lies that is not theirs."""
    capabilities.require("root")  # to mount: root may write where permissions forbid it
    source = installed.unpack(sdist, tmp_path / "other place")
    (source / LIBRARY).write_bytes(b"of another version")
    command = 'mount -o bind,ro . "$PWD" && cd "$PWD" && ! touch x && exec "$@"'
    build = installed.build_command("wheel", tmp_path)
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", *build],
        cwd=source, env=installed.environment(), check=True, capture_output=True,
    )  # fmt: skip
    [made] = tmp_path.glob("*.whl")
    assert (made.name, hash_of(made)) == (wheel.name, hash_of(wheel))


def test_editable_gets_its_library_beside_the_sources(sdist: Path, tmp_path: Path) -> None:
    """As pip's --editable asks for; a test that asks it would download what that needs."""
    source = installed.unpack(sdist, tmp_path / "source")
    build_data = {"artifacts": [], "force_include": {}}
    hook = CustomBuildHook(str(source), {}, None, None, str(tmp_path), "wheel")
    hook.initialize("editable", build_data)
    hook.finalize("editable", build_data, "")
    assert (source / LIBRARY).is_file()
    assert build_data["force_include"] == {}
