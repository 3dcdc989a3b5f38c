"""Packets joined over Open vSwitch's way to user space and back.

A packet without a flow is handed to ovs-vswitchd (upcall), which sends it back to be executed: to
the kernel it is a new packet then. The way is pieced together from what the events say::

    upcall            (cpu, time)                    the packet, by its tracking id
    upcall_enqueue    (upcall_cpu, upcall_ts)        a message to user space, named by queue_id
    recv_upcall, flow_operation   queue_id           in user space: no tracking id
    action_execute    queue_id                       in the kernel again, a new tracking id
    upcall_return     (upcall_cpu, upcall_ts)        the end of the upcall
"""

from collections import Counter

from retis_py.process.facts import Fact, Key

Upcall = tuple[int | None, int | None]  # CPU and time, ns


class Joiner:
    """Finds the series of events, given them in the order of time."""

    aliases: dict[Key, Key]  # a packet's id to the id that its series began with
    lost: Counter[str]  # event types whose upcall is not among the events

    def __init__(self) -> None:
        self.aliases = {}
        self.lost = Counter()
        self._upcalls: dict[Upcall, Key] = {}
        self._queued: dict[int | None, Key] = {}

    def root(self, key: Key) -> Key:
        """Return the id of the series that packet ``key`` belongs to."""
        aliases = self.aliases
        while (older := aliases.get(key)) is not None:
            key = older
        return key

    def join(self, fact: Fact) -> Key | None:
        """Return the id of the event's series, None if it belongs to none."""
        ovs = fact.ovs
        own = None if fact.key is None else self.root(fact.key)
        match ovs.event_type:
            case "upcall" if own is not None:
                self._upcalls[ovs.cpu, fact.time] = own
                return own
            case "upcall_enqueue":
                series = self._upcalls.get((ovs.upcall_cpu, ovs.upcall_ts), own)
                if series is not None:
                    self._queued[ovs.queue_id] = series
            case "upcall_return":
                series = self._upcalls.pop((ovs.upcall_cpu, ovs.upcall_ts), own)
            case "recv_upcall" | "flow_operation" | "action_execute" if ovs.queue_id is not None:
                series = self._queued.get(ovs.queue_id)
            case _:
                return own
        if series is None:
            self.lost[ovs.event_type] += 1
            return own
        series = self.root(series)  # which may have been joined meanwhile
        if own is not None and own != series:
            self.aliases[own] = series
        return series
