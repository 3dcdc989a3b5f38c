"""Files as retis's own library reads them."""

from pathlib import Path

import pytest

from retis_py.events.event import Event
from retis_py.events.jsonl import EventFile


def read_alike(path: Path) -> list[Event]:
    """Return an event file's events once retis's library has read them as we do.

    Compared are their text and their fields; where it is not installed the test is skipped.
    """
    retis = pytest.importorskip("retis")
    theirs = list(retis.EventFile(str(path)).events())
    with EventFile(path) as file:
        ours = list(file.events())
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert str(our) == str(their), f"ours:\n{our}\ntheirs:\n{their}"
    assert [e.to_dict() for e in ours[1:]] == [e.to_dict() for e in theirs[1:]]
    return ours
