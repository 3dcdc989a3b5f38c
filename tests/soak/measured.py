"""What a running collection has of the machine: memory, descriptors, map entries, spool."""

import ctypes
import json
import os
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lab.netns import LabError
from lab.spooled import is_decoded
from retis_py.collect.compiled import MapDefinition
from retis_py.collect.maps import Map, MapType
from retis_py.collect.spool_format import FIRST_CHUNK, Control
from retis_py.events.source import SPOOL_MAGIC
from retis_py.kernel import libbpf

TRACKED = "tracked_packets"


def processes(pid: int) -> dict[int, str]:
    """The processes of a collection: the one that was started, and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = {pid: "drainer"}
    for number, child in enumerate(children):
        found[int(child)] = "decoder" if number == 0 else f"child {number + 1}"
        helpers = Path(f"/proc/{child}/task/{child}/children").read_text().split()
        found |= {int(each): f"helper {at + 1}" for at, each in enumerate(helpers)}
    return found


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


class SpoolSize(NamedTuple):
    """Bytes that the spool takes on disk, as far as they are not decoded, and as they are.

    What is decoded is given back 8 MiB at a time.
    """

    waiting: int
    decoded: int


class WatchedSpool:
    """The spool of the collection ``pid``."""

    def __init__(self, pid: int) -> None:
        self._file = _spool_of(pid)
        self._control = Control(self._file.fileno(), writable=False)

    def is_decoded(self) -> bool:
        """Whether all that it was given is."""
        return is_decoded(self._control)

    def not_decoded(self) -> int:
        """How many events wait."""
        return self._control.received - self._control.events

    def size(self) -> SpoolSize:
        """What it takes now."""
        control = self._control
        while True:
            freed = control.freed
            on_disk = os.fstat(self._file.fileno()).st_blocks * 512
            decoded = control.decoded.unread - FIRST_CHUNK - freed
            if freed == control.freed:
                # While it is being given back the room is there before the word of it.
                return SpoolSize(max(0, on_disk - decoded), decoded)

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


def _spool_of(pid: int) -> BinaryIO:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError), ExitStack() as opened:
            file = opened.enter_context(descriptor.open("rb"))
            if os.pread(file.fileno(), 8, 0) == SPOOL_MAGIC:
                opened.pop_all()
                return file
    raise LabError(f"process {pid} has no spool")


class TrackedPackets:
    """The map of packets that are followed, of the collection ``pid``."""

    def __init__(self, pid: int) -> None:
        number = next(each for each in _maps_of(pid) if _name(each) == TRACKED)
        fd = libbpf.library().bpf_map_get_fd_by_id(ctypes.c_uint32(number))
        assert fd >= 0, f"map {number}"
        shown = _show(number)
        definition = MapDefinition(
            TRACKED, MapType.HASH, shown["bytes_key"], shown["bytes_value"], shown["max_entries"], 0
        )
        self._map = Map(definition, fd)

    def count(self) -> int:
        """How many there are."""
        return sum(1 for _ in self._map.entries())

    def close(self) -> None:
        """Let go of it."""
        os.close(self._map.fd)


def _maps_of(pid: int) -> list[int]:
    found = []
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):
            lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
            if "map_id" in lines:
                found.append(int(lines["map_id"]))
    return found


def _name(number: int) -> str:
    return str(_show(number).get("name", ""))


def _show(number: int) -> dict[str, int]:
    command = ["bpftool", "-j", "map", "show", "id", str(number)]
    done = subprocess.run(command, check=True, capture_output=True)
    shown: dict[str, int] = json.loads(done.stdout)
    return shown
