"""What ``retis sort`` makes of a collection: series, read without anything of retis_py's."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import cli
from lab.collection import Collection, Event, packet_bytes

Series = list[Event]


@dataclass(frozen=True, slots=True)
class Journeys:
    """A collection, its series behind the startup event's, and both files' text."""

    collection: Collection
    series: list[Series]

    def of(self, *markers: bytes) -> list[Series]:
        """The series whose first event's packet has one of these sequences of bytes in it."""
        return [s for s in self.series if any(m in packet_bytes(s[0]) for m in markers)]

    def ovs(self, event_type: str) -> Iterator[Event]:
        """All events of one type of the section ovs, in the order of the file."""
        return of_type(event_type, self.collection.events)


def of_type(event_type: str, events: Iterable[Event]) -> Iterator[Event]:
    """Those of the section ovs that are of this type."""
    return (e for e in events if e.get("ovs", {}).get("event_type") == event_type)


def sort(made: Collection) -> Journeys:
    """Run ``retis sort`` on a collection's file."""
    with tempfile.TemporaryDirectory(prefix="retis-journeys-") as folder:
        path = Path(folder) / "sorted.json"
        result = cli.retis("sort", made.path, "-o", path)
        assert result.exit_code == 0, result.stderr
        _, *series = [json.loads(line) for line in path.read_bytes().splitlines()]
    return Journeys(made, series)
