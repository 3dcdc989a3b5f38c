"""Builds the compiled part, retis_py/native/, where there is a C compiler: hatch's build hook.

It only makes things faster. Without a compiler, or where it cannot be compiled, a warning says so
and all is done in Python; RETIS_PURE_PYTHON=1 in the environment asks for that, without a warning.
A wheel with it is of one platform, but of no certain version of Python: it is called by ctypes.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

_LIBRARY = "_compiled.so"
_OPTIONS = ("-std=c11", "-D_DEFAULT_SOURCE", "-O3", "-fPIC", "-shared", "-Wl,-Bsymbolic")


class CustomBuildHook(BuildHookInterface[Any]):
    """For wheels, and for the editable installation, which gets it beside the sources."""

    _made: TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what comes of it into the wheel."""
        if os.environ.get("RETIS_PURE_PYTHON"):
            return
        package = Path(self.root) / "retis_py"
        folder = package
        if version != "editable":  # the sources may be read-only, or in use
            self._made = TemporaryDirectory()
            folder = Path(self._made.name)
        why = _compile(package / "native", folder / _LIBRARY)
        if why is not None:
            self.app.display_warning(f"retis-py: no compiled part, all is done in Python: {why}")
            return
        if folder != package:
            build_data["force_include"][str(folder / _LIBRARY)] = f"retis_py/{_LIBRARY}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what is in the wheel now."""
        if self._made is not None:
            self._made.cleanup()


def _platform() -> str:
    """Return this machine's, without a promise about other systems' C libraries (manylinux)."""
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


def _compile(sources: Path, library: Path) -> str | None:
    """Compile; return why it cannot be, or None. What is there is replaced in one step."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        return "there is no C compiler"
    made = library.with_suffix(f".{os.getpid()}")
    files = sorted(str(path) for path in sources.glob("*.c"))
    try:
        subprocess.run(
            [*compiler, *_OPTIONS, "-o", str(made), *files],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        made.replace(library)
    except (OSError, subprocess.CalledProcessError) as error:
        made.unlink(missing_ok=True)
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return lines[0] if lines else "the compiler failed"
    return None
