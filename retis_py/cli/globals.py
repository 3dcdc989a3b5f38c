"""Options that stand before the command, as every command sees them in ``ctx.obj``."""

from pathlib import Path
from typing import NamedTuple

from retis_py.cli.log import LogLevel


class GlobalOptions(NamedTuple):
    """What was asked for before the command's name.

    ``profiles`` are names or paths in the order given, ``extra_profiles_dirs`` are searched
    before all other folders, ``kconf`` is a kernel configuration to read instead of the
    running kernel's own.
    """

    log_level: LogLevel = LogLevel.INFO
    profiles: tuple[str, ...] = ()
    extra_profiles_dirs: tuple[Path, ...] = ()
    kconf: Path | None = None
