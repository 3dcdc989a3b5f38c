"""An event file in pieces of limited size: ``NAME.0``, ``NAME.1``, ...

Each piece begins with the startup event, which says which piece it is (``startup.split_file``), so
that it can be read alone. A long ruleset of nftables is in the first one only.
"""

import re
from pathlib import Path

from msgspec.structs import replace

from retis_py.errors import EventFileError
from retis_py.events.escape import escape
from retis_py.events.event import Event, encode
from retis_py.events.sections.startup import SplitFile, SplitPolicy, Startup
from retis_py.events.writer import EventWriter
from retis_py.private_files import create

# Of a piece's size, the share (one in so many) that the rules of nftables may take, but for the
# first piece.
_MOST_OF_PIECE = 4


class RotatingWriter(EventWriter):
    """An event file in pieces, open for writing.

    ``limit`` is the size in bytes that no piece exceeds, unless the startup event and a single
    event do. ``startup`` is the event that begins each piece; only events are handed to the
    writer. No file is ever replaced: pieces of an older collection, of which some might stay and
    be read as part of this one, are an EventFileError before anything is written, and so is a
    file that turns up where the next piece belongs. Other errors are those of ``EventWriter``.
    """

    def __init__(self, path: str | Path, limit: int, startup: Event) -> None:
        older = find_pieces(path)
        if older:
            raise EventFileError(_there_is(older))
        assert startup.startup is not None  # noqa: S101 (the caller made it)
        self._startup = startup
        self._section = startup.startup
        self._policy = SplitPolicy("size", limit)
        self._next_id = 0
        self._size = 0  # of the current piece, with what is buffered for it
        self._empty = True  # no event is in the current piece yet
        super().__init__(path)

    @property
    def pieces(self) -> int:
        """How many files were created so far."""
        return self._next_id

    def write_lines(self, lines: bytes) -> None:
        """Append lines that are encoded already, each with its newline."""
        start = 0
        while start < len(lines):
            end = lines.find(b"\n", start) + 1 or len(lines)
            super().write_lines(lines[start:end])
            start = end

    def __exit__(self, *error: object) -> None:
        """Close; what failed before the first event leaves no file for the next try to refuse."""
        super().__exit__(*error)
        if error[0] is not None and self._next_id == 1 and self._empty:
            piece_path(self.path, 0).unlink(missing_ok=True)

    def _create(self) -> None:
        """Create the next piece; one that gets no whole startup event is removed again."""
        path = piece_path(self.path, self._next_id)
        startup = self._startup_line(self._section)
        if self._next_id and len(startup) > self._policy.limit // _MOST_OF_PIECE:
            startup = self._startup_line(replace(self._section, nft_rules=None))
        self._open(path, create)
        self._buffer += startup
        try:
            self.flush()
        except EventFileError:
            self._buffer.clear()
            self._file.close()
            path.unlink(missing_ok=True)
            raise
        self._next_id += 1
        self._size = len(startup)
        self._empty = True

    def _startup_line(self, section: Startup) -> bytes:
        section = replace(section, split_file=SplitFile(self._next_id, self._policy))
        return encode(replace(self._startup, startup=section)) + b"\n"

    def _added(self, start: int) -> None:
        """Begin the next piece where the line that begins at ``start`` does not fit."""
        length = len(self._buffer) - start
        if self._size + length > self._policy.limit and not self._empty:
            line = self._buffer[start:]
            del self._buffer[start:]
            try:
                super().close()
                self._create()
            finally:
                self._buffer += line
        self._size += length
        self._empty = False
        super()._added(start)


def find_pieces(path: str | Path) -> list[Path]:
    """Return the files ``NAME.NUMBER`` that are there, in the order of their numbers.

    Raises:
        EventFileError: the folder cannot be read.
    """
    path = Path(path)
    try:
        names = [found.name for found in path.parent.iterdir()]
    except OSError as error:
        reason = error.strerror or str(error)
        raise EventFileError(f"cannot create {escape(str(path))}.0: {reason}") from None
    numbered = re.compile(re.escape(path.name) + r"\.(0|[1-9][0-9]*)")
    numbers = [int(match[1]) for name in names if (match := numbered.fullmatch(name))]
    return [piece_path(path, number) for number in sorted(numbers)]


def piece_path(path: Path, number: int) -> Path:
    """Return the name of one of the files, counted from 0."""
    return Path(f"{path}.{number}")


def _there_is(older: list[Path]) -> str:
    names = [escape(str(path)) for path in older]
    which = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)} files)"
    verb = "is" if len(names) == 1 else "are"
    return (
        f"{which} of an earlier collection {verb} still there, and might be read as part of this"
        " one: move or remove them first, or give another name with -o"
    )
