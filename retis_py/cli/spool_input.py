"""Spools that were left are read as event files: by those commands that import this."""

from pathlib import Path

from retis_py.events.source import SPOOL_MAGIC, Stream, converters


def _read_spool(path: Path) -> Stream:
    from retis_py.collect.left_spool import LeftSpool  # noqa: PLC0415 (seldom, and imports much)

    return LeftSpool(path)


converters[SPOOL_MAGIC] = _read_spool
