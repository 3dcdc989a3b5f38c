"""Tables of options in pages: between two comments, made from what click knows.

``<!-- options of retis sort -->`` begins one, ``<!-- end of options -->`` ends it.
"""

import re

from commands import Command, Option, all_commands

_PLACE = re.compile(r"(<!-- options of (retis[\w -]*?) -->\n).*?(<!-- end of options -->)", re.S)


def with_tables(page: str) -> str:
    """Return the text of a page with its tables of options as they should be.

    Raises KeyError for a command that does not exist.
    """
    commands = {command.path: command for command in all_commands()}
    return _PLACE.sub(lambda place: f"{place[1]}\n{_table(commands[place[2]])}\n{place[3]}", page)


def _table(command: Command) -> str:
    rows = [f"| {_names(option)} | {_text(option)} |" for option in command.options]
    return "\n".join(["| option | |", "|---|---|", *rows, ""])


def _names(option: Option) -> str:
    *others, last = option.spellings
    names = ", ".join(f"`{name}`" for name in (*others, f"{last} {option.value}".strip()))
    return names.replace("|", r"\|")


def _text(option: Option) -> str:
    """Text and limits; a default that the text tells is told like the others."""
    text, _, told = option.text.partition("[default: ")
    text = re.sub(r"'([^']+)'", _code, text.strip())
    limits = "; ".join(filter(None, [option.limits, told and f"default: {told.rstrip(']')}"]))
    return f"{text} ({limits})" if limits else text


def _code(quoted: re.Match[str]) -> str:
    """Mark what stands between quotes: it is to be typed as it stands."""
    return f"`{quoted[1]}`"
