"""Builds the compiled part, retis_py/native/, where there is a C compiler: hatch's build hook.

It only makes things faster. Without a compiler, or where it cannot be compiled, a warning says so
and all is done in Python; RETIS_PURE_PYTHON=1 in the environment asks for that, without a warning.
A wheel with it is of one platform, but of no certain version of Python: it is called by ctypes.
"""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_LIBRARY = "retis_py/_compiled.so"
_OPTIONS = ("-std=c11", "-D_DEFAULT_SOURCE", "-O3", "-fPIC", "-shared", "-Wl,-Bsymbolic")


class CustomBuildHook(BuildHookInterface[Any]):
    """For wheels, and for the editable installation, which gets it beside the sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, and put what comes of it into the wheel."""
        library = Path(self.root) / _LIBRARY
        if os.environ.get("RETIS_PURE_PYTHON"):
            return
        why = _compile(Path(self.root) / "retis_py" / "native", library)
        if why is not None:
            self.app.display_warning(f"retis-py: no compiled part, all is done in Python: {why}")
            return
        build_data["artifacts"].append(_LIBRARY)
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


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
