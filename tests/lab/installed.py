"""Building what is shipped, and virtual environments to install it in, as users do it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]

# What a checkout holds beside what is in git.
_NOT_SOURCES = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "dist",
    "build",
    "*.so",
    "retis.data*",
)


def copy_of_the_checkout(folder: Path) -> Path:
    """Return a copy to build from, so that nothing changes under other tests."""
    return Path(shutil.copytree(ROOT, folder, ignore=_NOT_SOURCES))


def environment(**changes: str) -> dict[str, str]:
    """Return the environment without what tests set, and without this checkout.

    The tests' own cache is empty, pip's would be too.
    """
    unwanted = {"PYTHONPATH", "RETIS_PURE_PYTHON", "XDG_CACHE_HOME", "CC"}
    return {name: value for name, value in os.environ.items() if name not in unwanted} | changes


def pip(*arguments: str | Path, python: Path | None = None, **changes: str) -> str:
    """Run this Python's pip, for another Python if one is named; return what it wrote."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if python is not None:
        command += ["--python", str(python)]
    return _run([*command, *map(str, arguments)], environment(**changes))


def build_command(kind: str, to: Path) -> list[str]:
    """Return the command that builds from the current folder."""
    return [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(to)]


def build(
    kind: Literal["sdist", "wheel"], source: Path, to: Path, **changes: str
) -> tuple[Path, str]:
    """Build from a folder; return the file, and what was said meanwhile.

    By this environment's hatchling: pip would install one each time, which takes far longer.
    """
    said = _run(build_command(kind, to), environment(**changes), cwd=source)
    [made] = to.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return made, said


def unpack(sdist: Path, folder: Path) -> Path:
    """Return the folder that a source distribution unpacks to."""
    folder.mkdir(parents=True)
    _run(["tar", "-xf", str(sdist), "-C", str(folder)], environment())
    [source] = folder.iterdir()
    return source


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of the Python that the tests' own one is made of."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *, system: bool) -> "Environment":
        """Make one; with ``system`` it sees the distribution's modules, BCC too."""
        python = Path(sys.base_prefix) / "bin" / "python3"
        option = ["--system-site-packages"] if system else []
        _run([str(python), "-m", "venv", "--without-pip", *option, str(folder)], environment())
        return cls(folder)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def install(self, *what: str | Path, **changes: str) -> None:
        """Install with pip. What is used is compiled when it is used."""
        pip("install", "--quiet", "--no-compile", *what, python=self.python, **changes)

    def run(
        self, *command: str | Path, cwd: Path, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment's; a failure is told by its exit code alone."""
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *map(str, command[1:])],
            cwd=cwd, env=self.environment(**changes), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the environment of a shell in which it is activated."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return environment(PATH=path, **changes)

    def files(self) -> set[Path]:
        """All that lies in it."""
        return {path for path in self.folder.rglob("*") if not path.is_dir()}


def _run(command: list[str], env: Mapping[str, str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
