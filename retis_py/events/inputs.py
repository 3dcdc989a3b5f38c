"""Which files are meant: one, the parts of a rotated output, or what there is by default."""

import re
from pathlib import Path

DEFAULT = Path("retis.data")

_NUMBERED = re.compile(r"(.*\.)(0|[1-9][0-9]{0,8})", re.DOTALL)
_AND_FOLLOWING = ".."


def find_inputs(name: Path | None) -> list[Path]:
    """Return the files that ``name`` stands for, at least one; whether they exist is not looked at.

    ``NAME.2..`` is NAME.2, NAME.3 and so on as far as there are files, ``NAME..`` begins at 0. None
    is ``retis.data``, and where there is no such file ``retis.data.0..``.
    """
    if name is None:
        first = DEFAULT.with_name(f"{DEFAULT.name}.0")
        return [DEFAULT] if DEFAULT.exists() or not first.exists() else _from(first)
    if not name.name.endswith(_AND_FOLLOWING) or not name.name.strip(".") or name.exists():
        return [name]
    first = name.with_name(name.name.removesuffix(_AND_FOLLOWING))
    if _NUMBERED.fullmatch(first.name) is None:
        first = first.with_name(f"{first.name}.0")
    return _from(first)


def following(path: Path) -> Path | None:
    """Return the file after ``NAME.N`` of a rotated output, None after the last."""
    numbered = _NUMBERED.fullmatch(path.name)
    if numbered is None:
        return None
    after = path.with_name(f"{numbered[1]}{int(numbered[2]) + 1}")
    return after if after.exists() else None


def _from(first: Path) -> list[Path]:
    paths = [first]
    while (after := following(paths[-1])) is not None:
        paths.append(after)
    return paths
