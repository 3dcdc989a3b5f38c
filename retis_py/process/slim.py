"""Events of which only some sections are decoded, for judging a line without reading all of it."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import msgspec

from retis_py.events.event import Event
from retis_py.events.sections.base import U64, Data


class _CommonStub(Data):
    """What ``common`` must have, read where nobody asks for more: an event without is damaged."""

    timestamp: U64


@cache
def slim_type(sections: frozenset[str]) -> type[msgspec.Struct]:
    """Make a struct like Event of these sections (attributes of Event), all others skipped.

    Each is None where it is absent. ``common`` must be in a line, as in Event.
    """
    fields: list[tuple[str, Any]] = []
    optional: list[tuple[str, Any, None]] = []
    renamed = {}
    for info in msgspec.structs.fields(Event):
        renamed[info.name] = info.encode_name
        if info.required:
            fields.append((info.name, info.type if info.name in sections else _CommonStub))
        elif info.name in sections:
            optional.append((info.name, info.type, None))
    return msgspec.defstruct(
        "SlimEvent", [*fields, *optional], bases=(Data,), rename=renamed, gc=False
    )


def slim_decoder(sections: Iterable[str]) -> Callable[[bytes], Any]:
    """Return a function from a line of JSON to such an event.

    It raises msgspec.DecodeError, UnicodeDecodeError and RecursionError. Sections that are
    skipped need only be JSON: a line that it takes may still be no event.
    """
    return msgspec.json.Decoder(slim_type(frozenset(sections))).decode


def slim_series_decoder(sections: Iterable[str]) -> Callable[[bytes], list[Any]]:
    """Return the same for a line of a sorted file, a series of events."""
    slim: Any = slim_type(frozenset(sections))
    decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[slim])
    return decoder.decode
