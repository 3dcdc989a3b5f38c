"""One-of values in the shape that retis's Python library gives them.

There, a value that is one of several kinds is an object of the kind's class, which has what the
kind holds as attributes and all classes of its family too: ``isinstance(proto, proto.Tcp)``,
``hasattr(proto, "tcp")``. Where our sections hold such a value in another way, they hand out these.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any


class Variant:
    """Named values, as attributes; ``built`` is what ``to_dict()`` returns."""

    __slots__ = ("_built", "_values")

    def __init__(self, built: Any, values: Mapping[str, Any]) -> None:
        self._built = built
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            message = f"'{type(self).__name__}' object has no attribute '{name}'"
            raise AttributeError(message) from None

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        return repr(self._built)

    def to_dict(self) -> Any:
        """Built-in types, as in the JSON of the event."""
        return self._built


def variants(names: Iterable[str]) -> dict[str, type[Variant]]:
    """Make the classes of a family, by name."""
    family = type("Family", (Variant,), {})
    kinds = {name: type(name, (family,), {}) for name in names}
    for name, kind in kinds.items():
        setattr(family, name, kind)
    return kinds


def class_name(name: str) -> str:
    """Spell a kind as its class: ``push_vlan`` is ``PushVlan``."""
    return name.title().replace("_", "")


class Choice(StrEnum):
    """A closed set of words.

    As in retis's Python library a member is also an integer, counted from 0, and has the others as
    attributes: ``state == state.RelatedReply``.
    """

    def __repr__(self) -> str:
        return self.value

    def __int__(self) -> int:
        return list(type(self)).index(self)

    def __eq__(self, other: object) -> bool:
        if type(other) is int:
            return int(self) == other
        return str.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __getattr__(self, name: str) -> Any:
        for member in type(self):
            if class_name(member.value) == name:
                return member
        message = f"'{type(self).__name__}' object has no attribute '{name}'"
        raise AttributeError(message)

    def to_dict(self) -> str:
        """Return the word, as in the JSON of the event."""
        return self.value
