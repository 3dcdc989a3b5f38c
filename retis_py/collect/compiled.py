"""What the compiler answers: instructions and maps, free of what is only this run's."""

from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
"""Holds where it is decoded: in a file of the cache."""


class MapDefinition(Struct, frozen=True):
    """A map as the program declares it; sizes in bytes."""

    name: str
    type: U32  # BPF_MAP_TYPE_*
    key_size: U32
    value_size: U32
    max_entries: U32
    flags: U32


class Compiled(Struct, frozen=True):
    """What loading needs.

    In the instructions (8 bytes each) a map's place is taken by its index in ``maps``.
    """

    functions: dict[str, bytes]
    maps: list[MapDefinition]


class Request(NamedTuple):
    """What there is to compile."""

    text: str
    functions: tuple[str, ...]
    cflags: tuple[str, ...]
