"""USDT probes of programs: of those that run already, and those started during the collection.

A uprobe belongs to a file: once it is attached all processes hit it that run the file.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from retis_py.collect.attach import Attached
from retis_py.collect.known_probes import ProbeRegistry
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.program import PROBE_NUMBER, USDT_ARGUMENTS
from retis_py.collectors.collector import UsdtRequest
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.events.escape import escape
from retis_py.kernel.processes import Process, processes_of
from retis_py.kernel.usdt import UsdtProbe, read_probes
from retis_py.probes.probe import UserProbe
from retis_py.probes.refusal import uprobe_refusal

log = logging.getLogger(__name__)

# How often to look for processes that were started meanwhile (s).
_INTERVAL = 1.0

_File = tuple[int, int]  # device and inode


class UserProbes:
    """Attaches what is asked for to each program's file, once.

    What stands in the way is a warning, once for each process: the collection goes on without it.
    ``root`` is where the machine's files are.
    """

    def __init__(
        self,
        loader: Loader,
        decoder: ProbeRegistry,
        requests: Sequence[UsdtRequest],
        root: Path = Path("/"),
    ) -> None:
        self._loader = loader
        self._decoder = decoder
        self._requests: dict[str, list[UsdtRequest]] = {}
        for request in requests:
            self._requests.setdefault(request.program, []).append(request)
        self._root = root
        self._known: dict[tuple[int, int], Process] = {}  # by process id and start
        self._files: dict[_File, bool] = {}  # whether there is a probe in it
        self._numbers = 0
        self._next = 0.0

    @property
    def wanted(self) -> bool:
        """Whether any are asked for."""
        return bool(self._requests)

    def attach(self) -> list[Attached]:
        """Attach to all programs that run; says so where there are none."""
        attached = self._look()
        running = {process.executable.rpartition("/")[2] for process in self._known.values()}
        for program in self._requests.keys() - running:
            log.warning(
                "no process runs %s: packets are followed through it once one is started", program
            )
        return attached

    def look_if_due(self) -> list[Attached]:
        """Attach to programs that were started since, if it is time to look for them."""
        if not self._requests or time.monotonic() < self._next:
            return []
        return self._look()

    def _look(self) -> list[Attached]:
        self._next = time.monotonic() + _INTERVAL
        attached = []
        for program, requests in self._requests.items():
            running = {(p.pid, p.start_time): p for p in processes_of(program, self._root)}
            for key in self._known.keys() - running.keys():
                process = self._known[key]
                if process.executable.rpartition("/")[2] == program:
                    log.info("%s has ended", _name(self._known.pop(key)))
            for key, process in running.items():
                if key in self._known:
                    continue
                self._known[key] = process
                self._decoder.programs[process.pid] = process.executable
                attached += self._attach_process(process, requests)
        return attached

    def _attach_process(self, process: Process, requests: list[UsdtRequest]) -> list[Attached]:
        who = _name(process)
        path = process.file.path
        try:
            status = path.stat()
            file = status.st_dev, status.st_ino
            if file in self._files:
                if self._files[file]:
                    log.info("%s: followed too, it runs the same file", who)
                return []
            probes = read_probes(path)
        except (OSError, MissingPrerequisite) as error:
            if process.is_alive():
                log.warning("%s: packets are not followed through it: %s", who, error)
            return []
        self._files[file] = False
        chosen = dict(_choose(requests, probes))
        missing = [request.symbol for request in requests if request not in chosen]
        if missing:
            log.warning(
                "%s: packets are not followed through it, since its file has no USDT probe %s: run"
                " one that was built with them (Open vSwitch: configure --enable-usdt-probes)",
                who,
                ", ".join(missing),
            )
            return []
        try:
            attached = self._attach_file(process, chosen)
        except (OSError, RetisError) as error:
            reason = uprobe_refusal(error) if isinstance(error, OSError) else error
            log.warning(
                "%s: packets are not followed through it: the kernel does not let its file be"
                " probed (%s)",
                who,
                reason,
            )
            return []
        self._files[file] = True
        log.info("%s: %d USDT probe(s) attached", who, len(attached))
        return attached

    def _attach_file(
        self, process: Process, chosen: Mapping[UsdtRequest, Sequence[UsdtProbe]]
    ) -> list[Attached]:
        """Attach all or none of a file's probes."""
        attached, mark = [], self._loader.mark()
        for request, places in chosen.items():
            number, self._numbers = self._numbers, self._numbers + 1
            probe = UserProbe(request.symbol, process.executable)
            self._decoder.add_user_probe(number, probe)
            try:
                attached += [
                    self._attach_place(process, request, place, number, probe) for place in places
                ]
            except OSError:
                self._loader.detach_since(mark)
                raise
        return attached

    def _attach_place(
        self,
        process: Process,
        request: UsdtRequest,
        place: UsdtProbe,
        number: int,
        probe: UserProbe,
    ) -> Attached:
        constants = {PROBE_NUMBER: number}
        for placeholder, position in zip(USDT_ARGUMENTS, request.arguments, strict=False):
            argument = place.arguments[position]
            constants[placeholder] = argument.number if argument else 0
        fd = self._loader.load(request.function, ProgramType.KPROBE, constants=constants)
        link = self._loader.attach_uprobe(fd, process.file.path, place.offset, place.semaphore)
        return Attached(fd, (probe,), (link,))


def _name(process: Process) -> str:
    return f"process {process.pid} ({escape(process.executable)})"


def _choose(
    requests: Sequence[UsdtRequest], probes: Sequence[UsdtProbe]
) -> Iterator[tuple[UsdtRequest, list[UsdtProbe]]]:
    """Give for each request its places in a file, those with all arguments that it needs."""
    for request in requests:
        places = [
            probe
            for probe in probes
            if probe.symbol == request.symbol
            and len(probe.arguments) > max(request.arguments)
            and all(probe.arguments[position] for position in request.arguments)
        ]
        if places:
            yield request, places
