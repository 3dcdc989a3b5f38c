"""The commands of ``retis`` and their options, as click knows them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import click

from retis_py.cli.main import cli


@dataclass(frozen=True, slots=True)
class Option:
    """An option: ``value`` names what it takes, ``limits`` are its bounds and default."""

    spellings: tuple[str, ...]
    value: str
    text: str
    limits: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its path (``retis profile list``)."""

    path: str
    usage: str
    text: str
    summary: str
    options: tuple[Option, ...]


def all_commands() -> list[Command]:
    """``retis`` and all below it, in the order of its help."""
    return list(_walk(cli, click.Context(cli, info_name="retis", **cli.context_settings)))


def _walk(command: click.Command, ctx: click.Context) -> Iterator[Command]:
    children = _children(command, ctx)
    yield Command(
        path=ctx.command_path,
        usage=" ".join(command.collect_usage_pieces(ctx)),
        text=command.help or "",
        summary=command.get_short_help_str(limit=200).rstrip("."),
        options=tuple(_options(command, ctx)),
    )
    for name, child in children:
        yield from _walk(child, click.Context(child, info_name=name, parent=ctx))


def _children(command: click.Command, ctx: click.Context) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return []
    found = ((name, command.get_command(ctx, name)) for name in command.list_commands(ctx))
    return [(name, child) for name, child in found if child is not None]


def _options(command: click.Command, ctx: click.Context) -> Iterator[Option]:
    for option in command.get_params(ctx):
        if not isinstance(option, click.Option) or option.hidden:
            continue
        extra = option.get_help_extra(ctx)
        bounds = [_bounds(extra["range"])] if "range" in extra else []
        yield Option(
            # -c, --collectors: the short one first, as people look for them.
            tuple(sorted(option.opts, key=lambda name: name.startswith("--"))),
            "" if option.is_flag else option.make_metavar(ctx),
            " ".join((option.help or "").split()),
            "; ".join([*bounds, *(f"default: {extra[key]}" for key in extra if key == "default")]),
        )


def _bounds(text: str) -> str:
    """Words for click's ``1<=x<=256`` and ``x>=1``."""
    if both := re.fullmatch(r"(\d+)<=x<=(\d+)", text):
        return f"{both[1]} to {both[2]}"
    return re.sub(r"x>=(\d+)", r"\1 or more", text)
