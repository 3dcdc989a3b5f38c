"""Damage that sorting does not see, since it looks only at what identifies packets.

It shows when sorted lines are worded or judged. Which line of the input it is in is not known then.
"""

import logging
import re
from collections.abc import Iterable, Iterator

import msgspec

from retis_py.errors import EventFileError
from retis_py.events.event import decode
from retis_py.events.lines import UNDECODABLE, wrong_with
from retis_py.process.work import Damage, Job

_log = logging.getLogger(__name__)

_BETWEEN = re.compile(rb'(?<=\}),(?=\{"common":)')


class LateDamage:
    """Applies jobs to pieces of a sorted file whose events may be damaged.

    With ``keep_going`` such events are left out, one by one, and counted; else the first is an
    error. ``name`` is what was sorted, safe to show. The jobs are to be made with the same
    ``keep_going``.
    """

    def __init__(self, name: str, *, keep_going: bool) -> None:
        self._name = name
        self._keep_going = keep_going
        self._skipped = 0

    def through(self, job: Job, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Iterate over the results of ``job``. Raises EventFileError after that before damage."""
        for piece in pieces:
            done = job(piece)
            if done.damages and self._keep_going:
                done = job(self._mended(piece, done.damages))
            yield done.result
            if done.damages:
                line = piece.split(b"\n")[done.damages[0].line]
                what = next(iter(_sound_events(line)[1]), done.damages[0].what)
                raise EventFileError(
                    f"{self._name}: a line {what}; 'retis print' tells which one, --keep-going"
                    " skips it"
                )

    def report(self) -> None:
        """Warn of the events that were left out, if any."""
        if self._skipped:
            _log.warning(
                "%s: %s damaged event(s) were skipped; 'retis print' tells which",
                self._name,
                f"{self._skipped:,}",
            )

    def _mended(self, piece: bytes, damages: Iterable[Damage]) -> bytes:
        lines = piece.split(b"\n")
        for damage in damages:
            sound, wrong = _sound_events(lines[damage.line])
            lines[damage.line] = b"[" + b",".join(sound) + b"]" if sound else b""
            self._skipped += len(wrong)
        return b"\n".join(lines)


def _sound_events(series: bytes) -> tuple[list[bytes], list[str]]:
    """Return the events of a series that can be decoded, and what is wrong with the others."""
    try:
        events = [bytes(raw) for raw in msgspec.json.decode(series, type=list[msgspec.Raw])]
    except UNDECODABLE:  # no JSON at all: they are split where they were put together
        events = _BETWEEN.split(series[1:-1])
    sound, wrong = [], []
    for event in events:
        try:
            decode(event)
            sound.append(event)
        except UNDECODABLE as error:
            wrong.append(wrong_with(error))
    return sound, wrong
