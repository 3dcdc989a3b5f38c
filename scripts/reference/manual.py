"""Manual pages (section 1), in the macros of man(7): one for ``retis`` and one for each command."""

import re

from commands import Command, Option, all_commands

from retis_py import __version__

_EXIT = """\
.SH EXIT STATUS
0: done. 1: something failed. 2: the command line or a profile makes no sense.
130: interrupted. Errors are one line on standard error.
"""
_FILES = """\
.SH FILES
.TP
.I retis.data
The event file that is read and written where none is named.
.TP
.I ~/.config/retis/profiles, /etc/retis/profiles, /usr/share/retis/profiles
Profiles.
.TP
.I ~/.cache/retis\\-py/programs
Compiled programs.
"""


def pages() -> dict[str, str]:
    """Return the text of each page by the name of its file."""
    commands = all_commands()
    return {f"{_name(command)}.1": _page(command, commands) for command in commands}


def _name(command: Command) -> str:
    return command.path.replace(" ", "-")


def _page(command: Command, commands: list[Command]) -> str:
    """No date: the page would change with each build."""
    name = _name(command)
    others = [other for other in commands if other is not command]
    below = [other for other in others if other.path.rpartition(" ")[0] == command.path]
    parts = [
        f'.TH {_escape(name.upper())} 1 "" "retis\\-py {__version__}" "retis"\n',
        f".SH NAME\n{_escape(name)} \\- {_escape(_lower(command.summary))}\n",
        f".SH SYNOPSIS\n.B {_escape(command.path)}\n{_escape(command.usage)}\n",
        f".SH DESCRIPTION\n{_text(command.text)}\n",
        ".SH OPTIONS\n" + "".join(map(_option, command.options)),
    ]
    if below:
        parts.append(".SH COMMANDS\n")
        parts += [
            f".TP\n.BR {_escape(_name(other))} (1)\n{_escape(other.summary)}.\n" for other in below
        ]
    parts += [_EXIT, _FILES, ".SH SEE ALSO\n"]
    pages_beside = [f".BR {_escape(_name(other))} (1)" for other in others]
    parts.append(",\n".join([*pages_beside, ".BR pcap\\-filter (7)"]) + "\n")
    return "".join(parts)


def _lower(summary: str) -> str:
    return summary[:1].lower() + summary[1:]


def _option(option: Option) -> str:
    names = ", ".join(rf"\fB{_escape(name)}\fR" for name in option.spellings)
    value = rf" \fI{_escape(option.value)}\fR" if option.value else ""
    limits = f" [{option.limits}]" if option.limits else ""
    return f".TP\n{names}{value}\n{_escape(option.text + limits)}\n"


def _text(text: str) -> str:
    """Paragraphs of a docstring."""
    paragraphs = re.split(r"\n\s*\n", text.replace("\b\n", "").strip())
    return "\n.PP\n".join(_escape(" ".join(paragraph.split())) for paragraph in paragraphs)


def _escape(text: str) -> str:
    """Nothing of ``text`` is taken for a macro or an escape; hyphens can be copied."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{text}" if text.startswith(".") else text
