"""Where the files that are not Python lie: BPF pieces and shipped profiles.

In a wheel they are inside the package (``pyproject.toml`` puts them there), in a checkout beside
it.
"""

from pathlib import Path

from retis_py.errors import MissingPrerequisite

_PACKAGE = Path(__file__).resolve().parent


def profiles_dir() -> Path:
    """Return the folder of the profiles that come with the package."""
    return _resource_dir("profiles")


def bpf_dir() -> Path:
    """Return the folder that holds ``main.c``, ``core/``, ``hooks/`` and ``probes/``."""
    return _resource_dir("bpf")


def _resource_dir(name: str) -> Path:
    installed, checkout = _PACKAGE / "data" / name, _PACKAGE.parent / name
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise MissingPrerequisite(
        f"the package's own folder '{name}' is neither at {installed} nor at {checkout}: "
        "install retis-py again"
    )
