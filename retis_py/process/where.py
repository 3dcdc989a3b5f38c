"""``--where``: events selected by what their fields hold.

::

    dev.name == "eth0" and skb - drop.drop_reason == "NO_SOCKET"

where_grammar.py has the language, docs/where.md explains it. An expression becomes a tree, is
checked against the types of events (where_fields.py), and becomes a Python function
(where_code.py), so that no tree is walked for an event.
"""

from collections.abc import Callable
from typing import Any

from retis_py.events.event import Event
from retis_py.process.slim import slim_decoder
from retis_py.process.where_code import generate
from retis_py.process.where_grammar import parse


class Where:
    """A compiled expression. Made by ``compile_where``; can be pickled, and used by many threads.

    A comparison of a section or field that an event does not have is false, ``!=`` and ``not in``
    too; its negation by ``not`` is true.
    """

    __slots__ = ("_decode", "matches", "sections", "text")

    text: str
    """The expression as it was given."""

    sections: frozenset[str]
    """Attributes of Event that it reads: "skb_drop"."""

    matches: Callable[[Event], bool]
    """Whether it is true of an event, or of a slim one that has at least these sections."""

    def __init__(self, text: str) -> None:
        predicate = generate(parse(text))
        self.text = text
        self.sections = predicate.sections
        self.matches = predicate.matches
        self._decode: Callable[[bytes], Any] | None = None

    def partial_decoder(self) -> Callable[[bytes], Any]:
        """Return a function from a line to a slim event for ``matches``: see slim.py."""
        if self._decode is None:
            self._decode = slim_decoder(self.sections)
        return self._decode

    def matches_line(self, line: bytes) -> bool:
        """Judge an event by its line in a file of the current format, decoding what it reads.

        Raises msgspec.DecodeError, UnicodeDecodeError and RecursionError for damaged lines; damage
        to other sections is seen only where it leaves no JSON.
        """
        decode = self._decode or self.partial_decoder()
        return self.matches(decode(line))

    def __reduce__(self) -> tuple[type["Where"], tuple[str]]:
        return Where, (self.text,)

    def __repr__(self) -> str:
        return f"Where({self.text!r})"


def compile_where(text: str) -> Where:
    """Compile an expression.

    Raises:
        UsageError: it is none, names what events do not have, or compares it with what it cannot
            be; the message says at which column.
    """
    return Where(text)
