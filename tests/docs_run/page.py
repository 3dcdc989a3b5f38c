"""A page of the documentation, as commands to run and what the page shows that they print.

Commands stand in fenced blocks of the language ``console``. A line that begins with ``$ `` or
``# `` (as root) is a command; it goes on over lines that end with a backslash, inside quotes, and
to the end of a here-document. What follows, up to the next command, is what it prints; ``…`` or
``...`` alone on a line stands for any lines, ``…`` in a line for any text. ``^C`` alone on a line:
the command is interrupted there, 1 s after it has said that probes are loaded.

Comments of HTML say what a reader knows without them. Before a block, for this block:

``<!-- needs: kprobes,openvswitch -->``
    Capabilities of tests/lab/capabilities.py, without which the block is not run. In the first
    line of the page: those of all its blocks.
``<!-- shown with: kprobes -->``, ``<!-- shown without: kprobes -->``
    It is run anywhere, and what is shown is compared only where the capability is there, or not.
``<!-- shown among: others -->``
    What a machine does besides may be there too: events that the page does not show.
``<!-- not run: reason -->``
    For the few that cannot be: tests/unit/test_docs_commands.py has the list.
``<!-- fails: REASON -->``
    Its last command has to fail, the others not (a ping without an answer).
``<!-- file: NAME -->``
    Before a block of another language: a file with the block's text is made.

Anywhere:

``<!-- file: NAME from tests/data/test_events.json -->``
    A copy is made, NAME being relative to the folder in which the commands run.
``<!-- run: COMMAND -->``
    What is not worth showing, as setting up a device that the page speaks of. $PYTHON is the
    interpreter of the tests, $DOCS_RUN this folder.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path


class PageError(ValueError):
    """The page is not written as told above; page and line stand before it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command; ``shown`` is None where the page shows nothing of what it prints."""

    line: int
    command: str
    as_root: bool = False
    shown: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block of commands, with what the comments before it say."""

    line: int
    steps: tuple[Step, ...]
    needs: frozenset[str] = frozenset()
    shown_with: frozenset[str] = frozenset()
    shown_without: frozenset[str] = frozenset()
    among_others: bool = False
    not_run: str | None = None
    fails: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A file to make: with this text, or the bytes of ``source`` (relative to the checkout)."""

    line: int
    name: str
    text: str | None = None
    source: str | None = None


@dataclass(slots=True)
class _Said:
    """What comments said since the last block."""

    sets: dict[str, frozenset[str]] = field(default_factory=dict)
    not_run: str | None = None
    fails: bool = False
    file: str | None = None


_COMMENT = re.compile(
    r"<!-- (needs|shown with|shown without|shown among|not run|fails|file|run): (.*) -->"
)
_FENCE = re.compile(r"(```+)\s*(\w*)$")
_COMMAND = re.compile(r"([$#]) (.*)")
_HERE_DOCUMENT = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


def read(page: Path) -> list[Block | File]:
    """Return blocks and files in the order of the page. Raises PageError."""
    try:
        return list(_items(page.read_text().splitlines()))
    except PageError as error:
        raise PageError(f"{page.name}:{error}") from None


def _items(lines: list[str]) -> Iterator[Block | File]:
    said, of_the_page = _Said(), frozenset[str]()
    number = 0
    while number < len(lines):
        line, number = lines[number], number + 1
        if comment := _COMMENT.fullmatch(line):
            what, words = comment.groups()
            if what == "run":
                yield Block(number, (Step(number, words),), of_the_page)
            elif what == "file" and " from " in words:
                name, _, source = words.partition(" from ")
                yield File(number, name, source=source)
            elif what == "file":
                said.file = words
            elif what == "not run":
                said.not_run = words
            elif what == "fails":
                said.fails = True
            elif what == "needs" and number == 1:
                of_the_page = _names(words)
            else:
                said.sets[what] = _names(words)
        elif fence := _FENCE.fullmatch(line):
            begin = number
            while number < len(lines) and lines[number] != fence[1]:
                number += 1
            if number == len(lines):
                raise PageError(f"{begin}: a block without an end")
            inside, number = lines[begin:number], number + 1
            if fence[2] == "console":
                block = _block(begin, inside, said)
                yield replace(block, needs=block.needs | of_the_page)
            elif said.file:
                yield File(begin, said.file, "".join(f"{text}\n" for text in inside))
            elif said.sets or said.not_run or said.fails:
                raise PageError(f"{begin}: comments for commands before a block of none")
            said = _Said()


def _names(words: str) -> frozenset[str]:
    return frozenset(name.strip() for name in words.split(","))


def _block(begin: int, lines: list[str], said: _Said) -> Block:
    return Block(
        begin,
        tuple(_steps(begin, lines)),
        said.sets.get("needs", frozenset()),
        said.sets.get("shown with", frozenset()),
        said.sets.get("shown without", frozenset()),
        "shown among" in said.sets,
        said.not_run,
        said.fails,
    )


def _steps(begin: int, lines: list[str]) -> Iterator[Step]:
    number = 0
    while number < len(lines):
        first = _COMMAND.fullmatch(lines[number])
        if first is None:
            raise PageError(f"{begin + number + 1}: output that no command comes before")
        line = begin + number + 1
        command, number = first[2], number + 1
        while _goes_on(command):
            if number == len(lines):
                raise PageError(f"{line}: a command without an end")
            command, number = f"{command}\n{lines[number]}", number + 1
        output = number
        while number < len(lines) and not _COMMAND.fullmatch(lines[number]):
            number += 1
        shown = tuple(lines[output:number]) or None
        yield Step(line, command, first[1] == "#", shown)


def _goes_on(command: str) -> bool:
    if here := _HERE_DOCUMENT.search(command):
        return not command.endswith(f"\n{here[2]}")
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command)
    except ValueError:  # a quotation is open
        return True
    return False
