"""From events to the packets of a capture file: which, at what time, from which probe."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from retis_py.errors import RetisError
from retis_py.events.escape import escape
from retis_py.events.event import Event
from retis_py.process.event_probe import EventProbe, event_probe
from retis_py.process.pcapng import PcapngWriter
from retis_py.process.select import Selection

_MAX_LISTED = 20


@dataclass(slots=True)
class ExportedPackets:
    """What was found: ``probes`` holds how many events with a packet each probe has."""

    events: int = 0  # without startup events
    without_packet: int = 0  # among those of the probe asked for
    probes: dict[EventProbe | None, int] = field(default_factory=dict)


def probes_with_packets(events: Iterable[Event]) -> list[EventProbe]:
    """Return the probes of events that have a packet, most hit first."""
    return _most_hit(Counter(event_probe(event) for event in events if event.packet is not None))


def export_packets(
    events: Iterable[Event],
    writer: PcapngWriter,
    *,
    name: str = "the file",
    wanted: str | None = None,
    selection: Selection | None = None,
) -> ExportedPackets:
    """Write the packets of ``events``: those of the probe that ``wanted`` names, and selected.

    Times are those of the clock offset in the startup event that came last, so that each of a
    rotated output's files is taken by its own. Events without a packet are passed over. The
    interface of a probe is described even where none of its events is selected.

    ``writer.finish()`` is left to the caller: without a packet nothing was written yet.

    Raises:
        RetisError: there is no packet, or none of that probe; the message says what there is in
            what is called ``name``.
    """
    exported = ExportedPackets()
    probes = exported.probes
    is_wanted: dict[EventProbe | None, bool] = {}
    clock_offset = 0
    for event in events:
        if event.startup is not None:
            clock_offset = event.startup.clock_monotonic_offset.ns
            if event.packet is None:
                continue
        exported.events += 1
        probe = event_probe(event)
        if probe not in probes:
            probes[probe] = 0
            is_wanted[probe] = wanted is None or (probe is not None and probe.is_named(wanted))
        packet = event.packet
        if packet is None:
            exported.without_packet += is_wanted[probe]
            continue
        probes[probe] += 1
        if not is_wanted[probe]:
            continue
        if not selection or selection.matches(event):
            writer.packet(event, packet, probe, event.common.timestamp + clock_offset)
        else:
            writer.interface(probe)
    if not any(probes[probe] for probe, taken in is_wanted.items() if taken):
        raise RetisError(_nothing_there(exported, name, wanted, any(is_wanted.values())))
    return exported


def _nothing_there(exported: ExportedPackets, name: str, wanted: str | None, is_known: bool) -> str:
    if not any(exported.probes.values()):
        return (
            f"there are no packets in {name}: none of its {exported.events} events has one;"
            " collect them with the collector 'skb'"
        )
    what = f"of probe '{wanted}' has a packet" if is_known else f"is of probe '{wanted}'"
    return f"no event in {name} {what}; there are packets of {_listing(exported)}"


def _listing(exported: ExportedPackets) -> str:
    """Name the probes that have packets, on one line."""
    names = [escape(str(probe)) for probe in _most_hit(exported.probes)]
    more = len(names) - _MAX_LISTED
    listing = ", ".join(names[:_MAX_LISTED]) or "no probe"
    return f"{listing} and {more} more" if more > 0 else listing


def _most_hit(probes: Mapping[EventProbe | None, int]) -> list[EventProbe]:
    hit = [probe for probe, hits in probes.items() if probe is not None and hits]
    return sorted(hit, key=lambda probe: (-probes[probe], probe))
