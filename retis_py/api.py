"""Event files for Python programs, with the names and manners of retis's own Python library.

Its scripts run with this one. What differs is listed in docs/python.md. All that is here is
exported by ``retis_py`` itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Generic, Self, TypeVar, overload

from retis_py.errors import EventFileError
from retis_py.events import jsonl
from retis_py.events.event import Event
from retis_py.events.inputs import following

StrPath = str | PathLike[str]
Item = TypeVar("Item", Event, "EventSeries")


class EventSeries(Sequence[Event]):
    """Events of one packet, oldest first: a line of a file made by ``retis sort``.

    A sequence, and for retis's scripts an iterator too: ``next(series)`` goes on where the one
    before ended, and iterating starts again.
    """

    __slots__ = ("_events", "_next")

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = list(events)
        self._next = 0

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._events[index]

    def __iter__(self) -> Iterator[Event]:
        self._next = 0
        return iter(self._events)

    def __next__(self) -> Event:
        if self._next >= len(self._events):
            raise StopIteration
        self._next += 1
        return self._events[self._next - 1]

    def __repr__(self) -> str:
        timestamp = self._events[0].common.timestamp if self._events else None
        # The name is retis's.
        return f"PyEventSeries(ts = {timestamp}, n_events = {len(self)})"


class _Reader(Generic[Item]):
    """What both readers are: an iterator that goes through files once."""

    def __init__(self, path: StrPath) -> None:
        self._files = _Files(path)
        self._items: Iterator[Item] = self._start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        return next(self._items)

    @classmethod
    def _of(cls, files: "_Files") -> Self:
        reader = cls.__new__(cls)
        reader._files = files
        reader._items = reader._start()
        return reader

    def _start(self) -> Iterator[Item]:
        raise NotImplementedError


class EventReader(_Reader[Event]):
    """Iterator over the events of a file that is not sorted, the startup event first.

    It goes through the file once. Raises EventFileError, which is a RuntimeError, for a file that
    cannot be read or is sorted, and while iterating for a damaged line.
    """

    @classmethod
    def with_rotation(cls, path: StrPath) -> Self:
        """Read ``NAME.N``, then ``NAME.N+1`` and so on, as long as there is one.

        A file that is called otherwise is read alone.
        """
        return cls._of(_Files(path, rotation=True))

    def _start(self) -> Iterator[Event]:
        if self._files.sorted:
            message = f"{self._files.name} is sorted: use SeriesReader, or series() of EventFile"
            raise EventFileError(message)
        return (event for series in self._files.series() for event in series)


class SeriesReader(_Reader[EventSeries]):
    """Iterator over the series of a sorted file, that of the startup event first.

    It goes through the file once. Raises EventFileError, which is a RuntimeError, for a file that
    cannot be read or is not sorted, and while iterating for a damaged line.
    """

    def _start(self) -> Iterator[EventSeries]:
        if not self._files.sorted:
            message = f"{self._files.name} is not sorted: use EventReader, or events() of EventFile"
            raise EventFileError(message)
        return (EventSeries(series) for series in self._files.series())


class EventFile:
    """An event file, sorted or not. ``-`` is the standard input.

    Raises EventFileError, which is a RuntimeError, for what cannot be read or is no event file.
    Each call of ``events()`` or ``series()`` reads from the start, which standard input and named
    pipes allow once.
    """

    def __init__(self, path: StrPath) -> None:
        self._path = path
        self._rotation = False
        self._opened: _Files | None = _Files(path)
        self._sorted = self._opened.sorted

    @classmethod
    def with_rotation(cls, path: StrPath) -> Self:
        """Read ``NAME.N``, then ``NAME.N+1`` and so on, as long as there is one.

        A file that is called otherwise is read alone. A sorted file is an error.
        """
        file = cls.__new__(cls)
        file._path = path
        file._rotation = True
        file._opened = _Files(path, rotation=True)
        file._sorted = False
        return file

    def sorted(self) -> bool:
        """Whether the file holds series."""
        return self._sorted

    def events(self) -> EventReader:
        """Iterate over the events of a file that is not sorted."""
        return EventReader._of(self._files())

    def series(self) -> SeriesReader:
        """Iterate over the series of a sorted file."""
        return SeriesReader._of(self._files())

    def _files(self) -> "_Files":
        """Hand out the file as it was opened, which is all that a pipe allows; then reopen it."""
        opened, self._opened = self._opened, None
        return opened or _Files(self._path, rotation=self._rotation)


class _Files:
    """A file, and those that follow it if ``rotation``; read once.

    It is open from the start, so that it is known what it holds.
    """

    def __init__(self, path: StrPath, *, rotation: bool = False) -> None:
        self._rotation = rotation
        self._file = jsonl.EventFile(Path(path))
        self.name = self._file.name
        self.sorted = self._file.sorted
        if rotation and self.sorted:
            raise EventFileError(f"{self.name} is sorted: such files are not rotated")

    def series(self) -> Iterator[list[Event]]:
        """Read all series; in a file that is not sorted each event is one."""
        while True:
            with self._file:
                yield from self._file.series()
            after = following(self._file.path) if self._rotation else None
            if after is None:
                return
            self._file = jsonl.EventFile(after)
            if self._file.sorted:
                raise EventFileError(f"{self._file.name} is sorted, unlike those before it")

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # else it could not be opened
            self._file.close()
