"""Types of options that are sizes in bytes."""

import re

import click

_SIZE = re.compile(r"(\d{1,12})\s*(?:([kMG])(?:i?B)?|B)?", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = {"": 0, "k": 10, "m": 20, "g": 30}
_LARGEST_BUFFER = 1 << 31
_FILE_SIZE = re.compile(r"(\d{1,12})\s*(?:([kMGT])(iB|B|)|B)", re.IGNORECASE | re.ASCII)
_FILE_SIZES = range(4000, (1 << 50) + 1)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """A number of bytes: ``16MB``, ``512k``; units are powers of 1024."""

    name = "SIZE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        size = int(match[1]) << _SIZE_UNITS[(match[2] or "").lower()] if match else 0
        if not 0 < size <= _LARGEST_BUFFER:
            self.fail(f"'{value}' is no size from 1 byte to 2GB, as in 16MB", param, ctx)
        return size


class FileSize(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """A number of bytes, units as those of split(1): ``64MB`` is 64,000,000, ``64MiB`` more.

    The unit is demanded, since a bare number means bytes to some and megabytes to others
    (tcpdump -C).
    """

    name = "SIZE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = _FILE_SIZE.fullmatch(str(value).strip())
        size = 0
        if match:
            power = " kmgt".index((match[2] or " ").lower())
            base = 1000 if (match[3] or "").lower() == "b" else 1024
            size = int(match[1]) * base**power
        if size not in _FILE_SIZES:
            self.fail(
                f"'{value}' is no size from 4kB to 1024TiB with its unit, as in 64MB", param, ctx
            )
        return size
