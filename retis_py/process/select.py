"""Which events a command is about: ``-f`` on the packet's bytes, ``--where`` on fields, or both."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from retis_py.events.event import Event
from retis_py.process.where import Where


@dataclass(frozen=True, slots=True)
class Selection:
    """What both select; false if there is neither, so that everything is selected.

    The startup event is never judged: it describes the file, and whoever copies or shows a
    selection keeps it.

    ``packet_filter`` gets a packet's bytes, from the Ethernet header on, and its length on the
    wire. An event without a packet does not match it.
    """

    packet_filter: Callable[[bytes, int], bool] | None = None
    where: Where | None = None

    @property
    def sections(self) -> frozenset[str]:
        """Attributes of Event that are looked at: a slim event (slim.py) of these can be judged."""
        packet = frozenset({"packet"}) if self.packet_filter is not None else frozenset[str]()
        return packet | self.where.sections if self.where is not None else packet

    def matches(self, event: Event) -> bool:
        """Whether an event is selected."""
        # Fields first: they cost a tenth of a filter.
        if self.where is not None and not self.where.matches(event):
            return False
        if self.packet_filter is None:
            return True
        packet = event.packet
        return packet is not None and self.packet_filter(packet.data, packet.len)

    def matches_series(self, events: Iterable[Event]) -> bool:
        """Whether any event of a series is selected, and with it the whole series."""
        return any(map(self.matches, events))

    def __bool__(self) -> bool:
        return self.packet_filter is not None or self.where is not None
