"""``retis sh-complete``: completion of retis's command line in shells, and what is completed.

The scripts are click's. They ask retis itself what fits, with ``_RETIS_COMPLETE`` set (see
main.py), so that they need not change when options do.
"""

import logging
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retis_py.errors import RetisError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Shell(StrEnum):
    """Values of ``--shell``."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"

    @property
    def file_name(self) -> str:
        """What the shell's own folders of completions want the script to be called."""
        return "_retis" if self is Shell.ZSH else f"retis.{self}"


@click.command("sh-complete")
@click.option(
    "--shell",
    type=click.Choice([shell.value for shell in Shell]),
    help="Shell to complete for. [default: that of $SHELL]",
)
@click.option(
    "--register",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the script into DIR, under the name that the shell looks for (retis.bash, _retis, "
    "retis.fish), instead of the standard output.",
)
def sh_complete_command(shell: str | None, register: Path | None) -> None:
    """Print a script that makes a shell complete retis's commands and options.

    In bash: source <(retis sh-complete --shell bash)
    """
    kind = Shell(shell) if shell else _own_shell()
    script = completion_script(kind)
    if register is None:
        click.echo(script, nl=False)
        return
    if not register.is_dir():
        raise UsageError(f"--register: {register} is no folder: make it, or name another")
    (register / kind.file_name).write_text(script)


def completion_script(shell: Shell) -> str:
    """Return the script that makes the shell complete ``retis``."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 (used here only)

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 (click knows all three)
    script = kind(click.Group(), {}, "retis", "_RETIS_COMPLETE").source()
    if shell is Shell.FISH:
        # click (8.1 to 8.3) cuts off what follows a comma, as in `-p generic,dropmon`.
        script = script.replace('(string split "," ', '(string split --max 1 "," ')
    return f"{script.strip()}\n"


def complete_profiles(
    ctx: click.Context,
    _parameter: click.Parameter,
    incomplete: str,
) -> "list[CompletionItem]":
    """Offer profiles' names for ``--profile``, after a comma too, and files for a path."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    from retis_py.profiles import list_profiles  # noqa: PLC0415 (needs YAML)

    if "/" in incomplete or incomplete.startswith("."):
        return [CompletionItem(incomplete, type="file")]
    logging.disable()  # nothing may get between the user and the line that is being typed
    before, comma, start = incomplete.rpartition(",")
    given = before.split(",")
    try:
        found = list_profiles(ctx.params.get("extra_profiles_dirs") or ())
        abouts = {p.name: p.about for _, profiles in found for p in reversed(profiles)}
    except RetisError:
        return []
    return [
        CompletionItem(f"{before}{comma}{name}", help=about.replace("\n", " "))
        for name, about in abouts.items()
        # Others would have to be quoted, which the shells' scripts do not do.
        if name.startswith(start) and name not in given and re.fullmatch(r"[\w.+-]+", name)
    ]


def _own_shell() -> Shell:
    name = os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119 (only a name is wanted)
    if name not in set(Shell):
        shells = ", ".join(Shell)
        raise UsageError(
            f"$SHELL is none that can be completed for: name one with --shell ({shells})"
        )
    return Shell(name)
