"""Sorting with a bound on the events held, as retis does it (``--max-buffer``).

Events are taken in the order of the file. Where more are held than wanted, the oldest series is
given out, and events of its packet that come later begin another. Whoever wants series whole uses
sort.py, which needs no more memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from retis_py.events.jsonl import EventFile
from retis_py.events.lines import UNDECODABLE, LineFormat, wrong_with
from retis_py.process.facts import JOINING, Fact, Key, OvsFacts
from retis_py.process.joins import Joiner
from retis_py.process.work import Damage, Done, work_through

Json = dict[str, Any]


class _Event(NamedTuple):
    time: int  # ns
    number: int  # in the order of the file
    event: Json


class WindowedSorter:
    """Sorts the events of unsorted files, the parts of one collection, in one pass.

    ``max_events`` is how many may be held. ``lost`` counts events of Open vSwitch whose packet
    cannot be told, by type. Raises EventFileError as reading does.
    """

    def __init__(
        self, files: Sequence[EventFile], max_events: int, *, keep_going: bool = False
    ) -> None:
        self._files = files
        self._max_events = max_events
        self._keep_going = keep_going
        self._joiner = Joiner()
        # By packet, or by the event's number where it stands alone.
        self._held: dict[Key | int, list[_Event]] = {}
        self._count = 0

    @property
    def lost(self) -> Mapping[str, int]:
        """Events of Open vSwitch that could not be joined, by type."""
        return self._joiner.lost

    def lines(self) -> Iterator[bytes]:
        """Iterate over the lines of a sorted file."""
        number = 0
        for place, file in enumerate(self._files):
            job = _Decoded(file.format, keep_going=self._keep_going)
            for _, events in work_through(file, job):
                for event in events:
                    if "startup" in event:
                        if place == 0:
                            event["startup"].pop("split_file", None)
                            yield _line([event])
                        continue
                    self._take(_Event(event["common"]["timestamp"], number, event))
                    number += 1
                    while self._count > self._max_events:
                        yield self._oldest()
        while self._held:
            yield self._oldest()

    def _take(self, event: _Event) -> None:
        series = self._series_of(event)
        known = self._held.get(series)
        own = _key(event.event)
        if known is None and isinstance(series, tuple) and own is not None and own != series:
            # The series that it belongs to is gone: it begins one of its own.
            series = own
        self._held.setdefault(series, []).append(event)
        self._count += 1

    def _series_of(self, event: _Event) -> Key | int:
        key = _key(event.event)
        ovs = event.event.get("ovs")
        if ovs is not None and ovs["event_type"] in JOINING:
            facts = msgspec.convert(ovs, OvsFacts)
            key = self._joiner.join(Fact(event.time, 0, 0, key, facts))
        elif key is not None:
            key = self._joiner.root(key)
        return event.number if key is None else key

    def _oldest(self) -> bytes:
        """Give out the series whose first event is the oldest."""
        key = min(self._held, key=lambda key: min(self._held[key])[:2])
        series = sorted(self._held.pop(key), key=lambda event: event[:2])
        self._count -= len(series)
        events = [event.event for event in series]
        first = next((event["skb-tracking"] for event in events if "skb-tracking" in event), None)
        if first is not None:
            for index, event in enumerate(events):
                event["tracking"] = {"skb": first, "idx": index}
        return _line(events)


class _Decoded:
    """Job for ``work_through``: the events of a piece as dictionaries, checked to be events."""

    def __init__(self, lines: LineFormat, *, keep_going: bool) -> None:
        self._lines = lines
        self._keep_going = keep_going

    def __call__(self, piece: bytes) -> Done:
        events = []
        damages = []
        lines = piece.split(b"\n")[:-1]
        for number, line in enumerate(lines):
            if line and not line.isspace():
                try:
                    self._lines.events(line)
                    events.append(msgspec.json.decode(self._lines.current(line)))
                except UNDECODABLE as error:
                    damages.append(Damage(number, wrong_with(error)))
                    if not self._keep_going:
                        break
        return Done(events, len(lines), tuple(damages))


def _key(event: Json) -> Key | None:
    ids = event.get("skb-tracking")
    return None if ids is None else (ids["timestamp"], ids["orig_head"])


def _line(events: list[Json]) -> bytes:
    return msgspec.json.encode(events) + b"\n"
