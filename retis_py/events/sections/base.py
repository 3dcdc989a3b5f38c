"""What all sections share: integer widths and the struct options."""

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct, json

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat

U8 = Annotated[int, Meta(ge=0, le=0xFF)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
# msgspec compares bounds as i64, so the upper one of a u64 cannot be stated.
U64 = Annotated[int, Meta(ge=0)]
I32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Data(Struct, gc=False, omit_defaults=True):
    """An object in the event file: absent optional fields are left out, unknown keys skipped.

    No cycle can be made of these, so the garbage collector need not look at them.
    """

    def __repr__(self) -> str:
        return repr(self.to_dict())

    def to_dict(self) -> Any:
        """Built-in types by JSON key: bytes in base64, what is absent left out."""
        # Through JSON, since msgspec.to_builtins leaves tuples as they are.
        return json.decode(json.encode(self))


class Section(Data):
    """A top-level object of an event."""

    def __str__(self) -> str:
        from retis_py.events.text import TextFormat  # noqa: PLC0415 (needs sections)

        return self.text(TextFormat())

    def text(self, fmt: "TextFormat") -> str:
        """Return the text for people, free of control characters but newlines.

        Further lines are indented relative to the first. Empty with nothing to show.
        """
        raise NotImplementedError
