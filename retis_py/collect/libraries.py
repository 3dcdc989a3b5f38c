"""The libraries that collecting needs, and their versions, without loading LLVM."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import NamedTuple

from retis_py.collect.compiler import NO_BCC
from retis_py.errors import MissingPrerequisite
from retis_py.kernel import libbpf


class Library(NamedTuple):
    """A library; ``missing`` says why it is not there, ``note`` why its version is not known."""

    name: str
    version: str | None
    missing: str | None = None
    note: str | None = None


def find_bcc() -> Library:
    """Find BCC for this Python, without importing it: that takes 0.2 s and 130 MB for LLVM."""
    # Of a package at the top level this only looks for the folder.
    spec = importlib.util.find_spec("bcc")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / "libbcc.py").is_file():
        # The package of that name in Python's registry is another program.
        return Library("BCC", None, missing=NO_BCC.format(executable=sys.executable))
    try:
        text = (folder / "version.py").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return Library("BCC", None, note=f"version unknown: {error.strerror}: {error.filename}")
    found = re.search(r"""^__version__ = ['"]([^'"]+)['"]""", text, re.MULTILINE)
    if found is None or found[1].startswith("@"):  # a build that did not fill it in
        return Library("BCC", None, note=f"version unknown: {folder}/version.py has none")
    return Library("BCC", found[1])


def find_libbpf() -> Library:
    """Load libbpf, as collecting does, and ask it."""
    try:
        version = libbpf.library().libbpf_version_string().decode()
    except MissingPrerequisite as error:
        return Library("libbpf", None, missing=str(error))
    return Library("libbpf", version.removeprefix("v"))
