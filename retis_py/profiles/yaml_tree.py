"""YAML text into plain nodes that know their line, with everything that can hurt refused.

Built on the parser's events instead of ``yaml.load``: no Python object is ever constructed,
nothing is expanded or recursed into beyond fixed bounds, scalars keep the text they were written
with (``0x10`` and ``1.10`` are arguments, not numbers), and every error can name its line.
"""

from collections.abc import Iterator
from typing import NoReturn

import yaml

from retis_py.profiles.tree import MAX_BYTES, Node, YamlTreeError

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_DEPTH = 8
MAX_NODES = 10_000
MAX_ALIASES = 100

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})  # YAML 1.2, 10.3.2 (core schema)


def parse_documents(data: bytes) -> list[Node]:
    """Return the documents in ``data``, empty ones left out.

    Raises ``YamlTreeError``.
    """
    if len(data) > MAX_BYTES:
        raise YamlTreeError(0, f"larger than {MAX_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlTreeError(data.count(b"\n", 0, error.start) + 1, "not UTF-8 text") from None
    try:
        return _TreeBuilder(yaml.parse(text, Loader=Loader)).documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "malformed"
        raise YamlTreeError(mark.line + 1 if mark else 0, f"not YAML: {problem}") from None
    except yaml.YAMLError as error:
        reason = str(getattr(error, "reason", "") or "malformed")
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
        raise YamlTreeError(line, f"not YAML: {reason}") from None


class _TreeBuilder:
    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._nodes = 0
        self._aliases = 0

    def documents(self) -> list[Node]:
        found = []
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()  # an anchor is known within its document only
                node = self._node(next(self._events), depth=1)
                if node.value is not None:
                    found.append(node)
        return found

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES} values")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._refuse(event, f"tags are not supported: {tag}")
        node = Node(self._value(event, depth), _line(event))
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._refuse(event, f"more than {MAX_ALIASES} aliases")
        if event.anchor not in self._anchors:
            self._refuse(event, f"alias '*{event.anchor}' refers to itself or to nothing")
        return self._anchors[event.anchor]

    def _value(self, event: yaml.Event, depth: int) -> str | list[Node] | dict[str, Node] | None:
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]
            return None if plain and event.value in _NULLS else str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(depth)
        return self._mapping(depth)

    def _list(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key.value, str):
                self._refuse(event, "a key must be a text")
            if key.value in entries:
                self._refuse(event, f"key '{key.value}' is given twice")
            entries[key.value] = self._node(next(self._events), depth + 1)
        return entries

    def _refuse(self, event: yaml.Event, message: str) -> NoReturn:
        raise YamlTreeError(_line(event), message)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
