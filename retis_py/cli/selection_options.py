"""``-f`` and ``--where``: options of the commands that read event files."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from retis_py.process.select import Selection
from retis_py.process.where import compile_where


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``-f`` and ``--where`` to a command, given to it as ``selection``.

    Raises UsageError when the command is run, and MissingPrerequisite where there is no libpcap.
    """

    @click.option(
        "-f",
        "--filter-packet",
        "packet_filter",
        metavar="EXPRESSION",
        help="Only events whose packet matches, in the language of pcap-filter(7): 'tcp port 443'.",
    )
    @click.option(
        "--where",
        metavar="EXPRESSION",
        help="Only events whose fields match: 'dev.name == \"eth0\" and skb-drop'. With -f both "
        "must.",
    )
    @wraps(command)
    def with_selection(
        *args: Any, packet_filter: str | None, where: str | None, **kwargs: Any
    ) -> None:
        selection = Selection(
            packet_filter=None if packet_filter is None else _packet_filter(packet_filter),
            where=None if where is None else compile_where(where),
        )
        command(*args, selection=selection, **kwargs)

    return with_selection


def _packet_filter(expression: str) -> Callable[[bytes, int], bool]:
    from retis_py.filters.offline import OfflineFilter  # noqa: PLC0415 (loads libpcap)

    return OfflineFilter(expression).matches
