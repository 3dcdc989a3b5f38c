"""Options that several commands have."""

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any

import click

from retis_py.events.text import TextFormat


class Layout(StrEnum):
    """Values of ``--format``."""

    MULTI_LINE = "multi-line"
    SINGLE_LINE = "single-line"


def out_option(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make the option ``-o FILE`` of a command that reads files; ``text`` is its help."""
    # Whether it can be written shows when it is.
    file = click.Path(readable=False, path_type=Path)
    return click.option("-o", "--out", metavar="FILE", type=file, help=text)


def text_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--format``, ``--utc`` and ``-e`` to a command, given to it as ``text_format``.

    Its clock offset is 0: whoever prints takes it from the startup event.
    """

    @click.option(
        "--format",
        "layout",
        type=click.Choice([layout.value for layout in Layout]),
        default=Layout.MULTI_LINE.value,
        show_default=True,
        help="An event's sections on a line each, or all on one line.",
    )
    @click.option("--utc", is_flag=True, help="Show dates (UTC) instead of monotonic timestamps.")
    @click.option(
        "-e",
        "--print-ll",
        "link_layer",
        is_flag=True,
        help="Show the link layer (Ethernet, VLAN) of packets too.",
    )
    @wraps(command)
    def with_text_format(
        *args: Any, layout: str, utc: bool, link_layer: bool, **kwargs: Any
    ) -> None:
        text_format = TextFormat(
            multi_line=layout == Layout.MULTI_LINE, utc=utc, link_layer=link_layer
        )
        command(*args, text_format=text_format, **kwargs)

    return with_text_format
