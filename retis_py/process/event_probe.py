"""The probe that an event comes from, and the ways in which people name it."""

from typing import NamedTuple

from retis_py.events.event import Event

# Short types, as `retis collect --probe` takes them.
_SHORT_TYPES = {"kprobe": "k", "kretprobe": "kr", "raw_tracepoint": "tp", "usdt": "u"}


class EventProbe(NamedTuple):
    """A probe by the names that stand in events, which are not safe for a terminal."""

    type: str  # "kprobe", "kretprobe", "raw_tracepoint", "usdt"; others are read too
    symbol: str  # "ip_rcv", "skb:kfree_skb", "dpif_recv:recv_upcall"

    def __str__(self) -> str:
        """``TYPE/SYMBOL``."""
        return f"{self.type}/{self.symbol}"

    def is_named(self, name: str) -> bool:
        """Whether ``name`` means this probe.

        It does as ``TYPE/SYMBOL``, and as ``[TYPE:]SYMBOL[/stack]``, the spelling of ``retis
        collect --probe``: there types have short forms, and without a type a symbol with one ``:``
        is a tracepoint's and any other a function's.
        """
        if name == str(self):
            return True
        target = name.removesuffix("/stack")
        spellings = {f"{self.type}:{self.symbol}"}
        if self.type in _SHORT_TYPES:
            spellings.add(f"{_SHORT_TYPES[self.type]}:{self.symbol}")
        untyped = "raw_tracepoint" if self.symbol.count(":") == 1 else "kprobe"
        if self.type == untyped:
            spellings.add(self.symbol)
        return target in spellings


def event_probe(event: Event) -> EventProbe | None:
    """Return the probe of an event, None for one that no probe made (``startup``)."""
    if event.kernel is not None:
        return EventProbe(event.kernel.probe_type, event.kernel.symbol)
    if event.userspace is not None:
        return EventProbe(event.userspace.probe_type, event.userspace.symbol)
    return None
