"""What all kinds of OVS events share: being one of a family, as ``event_type`` says."""

from typing import TYPE_CHECKING, Any

from retis_py.events.sections.base import Section
from retis_py.events.sections.variant import Variant


class Kind(Section):
    """A kind of OVS event.

    Its fields are its attributes. As in retis's Python library they are also those of an attribute
    called as the event's type, which only events of that type have: ``ovs.upcall.port``.
    """

    def fields_apart(self) -> Variant:
        """Return the fields without ``event_type``."""
        built = self.to_dict()
        built.pop("event_type", None)
        return Variant(built, self.field_values())

    def field_values(self) -> dict[str, Any]:
        """Return the fields as retis's Python library has them, by name."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    if not TYPE_CHECKING:  # a slip in a name is to be found

        def __getattr__(self, name: str) -> Any:
            if name == self.__struct_config__.tag:
                return self.fields_apart()
            message = f"'{type(self).__name__}' object has no attribute '{name}'"
            raise AttributeError(message)
