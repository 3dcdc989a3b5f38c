"""Running ovs-vswitchd daemons, and what they tell of a flow in the kernel's datapath.

Texts are those of ``ovs-appctl dpctl/get-flow`` and ``ofproto/detrace`` (ovs-vswitchd(8)); the
latter is known from Open vSwitch 3.4 on.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from retis_py.kernel.processes import Process, processes_of
from retis_py.kernel.unixctl import TIME_LIMIT, CommandError, Unixctl

PROGRAM = "ovs-vswitchd"
RUN_FOLDER = "/var/run/openvswitch"

# What a daemon calls the datapath that it has in the kernel (dpif_backer, ofproto-dpif.c). There
# may be others, in user space, so that it has to be named.
KERNEL_DATAPATH = "system@ovs-system"

_GET_FLOW = "dpctl/get-flow"
_DETRACE = "ofproto/detrace"

# Each bridge's OpenFlow sockets, which are not the daemon's.
_OF_BRIDGES = (".mgmt", ".snoop")

# Num RefCount Protocol Flags Type St Inode Path (net/unix/af_unix.c, unix_seq_show). Anybody may
# bind to a path with a line break in it.
_BOUND = re.compile(
    r"[0-9a-f]+: [0-9A-F]{8} [0-9A-F]{8} (?P<flags>[0-9A-F]{8}) [0-9A-F]{4} [0-9A-F]{2}"
    r" +(?P<inode>\d+) (?P<path>/.*)"
)
_LISTENS = 0x10000  # __SO_ACCEPTCON


@dataclass(frozen=True, slots=True)
class ControlSocket:
    """Where a daemon listens; ``pid`` is None where only its pidfile is known."""

    path: Path
    pid: int | None
    name: str


class Rules(NamedTuple):
    """What ``ofproto/detrace`` tells.

    ``lines`` are OpenFlow rules, a line with the bridge's name before those of each; ``later`` says
    that the daemon has not put them together yet, and may when its revalidators have run.
    """

    lines: list[str]
    later: bool


class Vswitchd:
    """A daemon, asked over its control socket. Every method sends at most one request.

    All raise OSError when it cannot be reached, see ``Unixctl.request``.
    """

    def __init__(
        self,
        where: ControlSocket,
        datapath: str = KERNEL_DATAPATH,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self.where = where
        self.has_detrace = False
        self._datapath = datapath
        self._unixctl = Unixctl(where.path, time_limit)

    def learn_commands(self) -> None:
        """Find out whether it has ``ofproto/detrace``."""
        if self.where.pid not in (None, self._unixctl.peer):
            # Links in another mount namespace may lead to files of ours.
            raise ConnectionError("another process listens there")
        try:
            commands = self._unixctl.request("list-commands").split()
        except CommandError:
            raise ConnectionError("it refuses commands") from None
        if _GET_FLOW not in commands:
            raise ConnectionError(f"it has no command {_GET_FLOW}")
        self.has_detrace = _DETRACE in commands

    def flow(self, ufid: str) -> str | None:
        """Return a flow of the datapath as text; None if the daemon's datapath has none such."""
        try:
            return self._unixctl.request(_GET_FLOW, self._datapath, f"ufid:{ufid}").strip()
        except CommandError:
            return None

    def rules(self, ufid: str) -> Rules:
        """Return the OpenFlow rules that the flow was made of."""
        try:
            answer = self._unixctl.request(_DETRACE, f"ufid:{ufid}")
        except CommandError:
            return Rules([], later=False)
        lines = [line.strip() for line in answer.splitlines()]
        # Each kind of datapath answers for itself, those that do not know the flow, too.
        known = [line for line in lines if line and not line.startswith("UFID was not found")]
        rules = [line for line in known if not line.startswith("Cache was not found")]
        return Rules(rules, later=len(rules) < len(known))

    def abort(self) -> None:
        """End a request of another thread."""
        self._unixctl.abort()

    def close(self) -> None:
        """Give the connection back."""
        self._unixctl.close()


def control_sockets(
    root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> list[ControlSocket]:
    """Return where daemons listen: all that run here, and that of the run directory.

    The run directory is that of ``OVS_RUNDIR`` or ``/var/run/openvswitch``, for a container that
    has it and does not see the daemon's process. ``root`` is where the machine's files are.
    """
    found = [socket for process in processes_of(PROGRAM, root) for socket in _sockets_of(process)]
    folder = root / environment.get("OVS_RUNDIR", RUN_FOLDER).lstrip("/")
    own = _of_pidfile(folder)
    if own is not None and not any(_same(own.path, socket.path) for socket in found):
        found.append(own)
    return found


def _sockets_of(process: Process) -> Iterator[ControlSocket]:
    """Give the control socket of a process that this user may look into."""
    name = f"process {process.pid} ({process.executable})"
    for bound in _listening(process.folder):
        if bound.endswith(_OF_BRIDGES):
            continue
        # Often a link to /run, which would lead to ours.
        places = [bound.replace("/var/run/", "/run/", 1), bound]
        paths = [process.folder / "root" / place.lstrip("/") for place in places]
        path = next((path for path in paths if _is_socket(path)), None)
        if path is not None:
            yield ControlSocket(path, process.pid, name)


def _listening(folder: Path) -> list[str]:
    """Return the paths, as the process sees them, of Unix sockets that it listens on."""
    own = set()
    try:
        for descriptor in (folder / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                own.add(str(descriptor.readlink()))
        lines = (folder / "net" / "unix").read_text(errors="surrogateescape").split("\n")
    except OSError:  # gone meanwhile, or not this user's
        return []
    return [
        bound["path"]
        for bound in map(_BOUND.fullmatch, lines)
        if bound and int(bound["flags"], 16) & _LISTENS and f"socket:[{bound['inode']}]" in own
    ]


def _of_pidfile(folder: Path) -> ControlSocket | None:
    try:
        pid = (folder / f"{PROGRAM}.pid").read_text(errors="replace").strip()
    except OSError:
        return None
    path = folder / f"{PROGRAM}.{pid}.ctl"
    if not pid.isdecimal() or not _is_socket(path):  # left behind by one that was killed
        return None
    return ControlSocket(path, None, f"{PROGRAM} of {folder}")


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except PermissionError:
        return True  # connecting will tell
    except OSError:
        return False


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
