"""Lines of an event file of any format, as retis writes them today."""

from retis_py.events.lines import UNDECODABLE, LineFormat, wrong_with
from retis_py.process.work import Damage, Done


class CurrentLines:
    """Job for ``work_through`` that gives the lines of a piece in the current format.

    Lines of an old format that are damaged are left out, and without ``keep_going`` all after
    them. Others are not looked at.
    """

    def __init__(self, lines: LineFormat, keep_going: bool) -> None:
        self._lines = lines
        self._keep_going = keep_going

    def __call__(self, piece: bytes) -> Done:
        """Bring all lines to the current format."""
        lines = piece.split(b"\n")[:-1]
        if self._lines.is_current:
            return Done(piece, len(lines))
        current = []
        damages = []
        for number, line in enumerate(lines):
            if line and not line.isspace():
                try:
                    self._lines.events(line)
                    current.append(self._lines.current(line) + b"\n")
                except UNDECODABLE as error:
                    damages.append(Damage(number, wrong_with(error)))
                    if not self._keep_going:
                        break
        return Done(b"".join(current), len(lines), tuple(damages))
