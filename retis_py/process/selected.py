"""Lines of an event file that a selection keeps."""

from typing import Any

from retis_py.events.lines import UNDECODABLE, LineFormat, wrong_with
from retis_py.process.select import Selection
from retis_py.process.slim import slim_decoder, slim_series_decoder
from retis_py.process.work import Damage, Done, Job


class SelectedLines:
    """Job for ``work_through`` that gives those lines of a piece, in the current format.

    Startup events are kept always. In a sorted file a series is kept when any of its events
    matches. Without ``keep_going`` lines after a damaged one are left out.

    ``then`` is a job for what is kept, whose result is given instead.
    """

    def __init__(
        self, lines: LineFormat, selection: Selection, *, keep_going: bool, then: Job | None = None
    ) -> None:
        self._lines = lines
        self._selection = selection
        self._keep_going = keep_going
        self._then = then
        sections = {*selection.sections, "startup"}
        self._decode: Any = (
            slim_series_decoder(sections) if lines.sorted else slim_decoder(sections)
        )

    def __call__(self, piece: bytes) -> Done:
        """Judge all lines."""
        kept = []
        numbers = []
        damages = []
        lines = piece.split(b"\n")[:-1]
        for number, line in enumerate(lines):
            if line and not line.isspace():
                try:
                    current = self._lines.current(line)
                    if self._keeps(current):
                        kept.append(current)
                        numbers.append(number)
                except UNDECODABLE as error:
                    damages.append(Damage(number, wrong_with(error)))
                    if not self._keep_going:
                        break
        kept.append(b"")
        selected = b"\n".join(kept)
        if self._then is None:
            return Done(selected, len(lines), tuple(damages))
        done = self._then(selected)
        damages += [Damage(numbers[damage.line], damage.what) for damage in done.damages]
        return Done(done.result, len(lines), tuple(sorted(damages)))

    def _keeps(self, line: bytes) -> bool:
        decoded = self._decode(line)
        events = decoded if self._lines.sorted else [decoded]
        return any(event.startup is not None or self._selection.matches(event) for event in events)
