"""Open vSwitch for functional tests: its daemons in a folder of their own, a bridge with hosts.

with ovs.bridge() as bridge:
    bridge.hosts[0].run("ping", "-c1", bridge.hosts[1].ip4)

A datapath belongs to its network namespace. The daemons run in one of their own, in which the
bridge and its ports are: with the namespace all of it goes, and several switches can run at once.
What stays is the module openvswitch.
"""

import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import netns
from vm import openvswitch

_counter = itertools.count(1)

# Emulated CPUs: starting takes seconds.
TIME_LIMIT = 60.0


# The OpenFlow rules of a new bridge.
JOINED = ("in_port=1 actions=output:2", "in_port=2 actions=output:1")


@dataclass(frozen=True, slots=True)
class DatapathFlow:
    """A flow of the datapath as ``ovs-appctl dpctl/dump-flows -m`` shows it."""

    ufid: str
    match: str
    packets: int
    actions: str


class Switch:
    """ovsdb-server and ovs-vswitchd, which run in the network namespace ``ns``.

    ``folder`` has their sockets, logs and database.
    """

    def __init__(self, build: openvswitch.Build, ns: str, folder: Path) -> None:
        self.ns = ns
        self.folder = folder
        self._build = build
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._starts = 0

    def start(self) -> None:
        """Start both daemons on an empty database."""
        database = str(self.folder / "conf.db")
        self._run("ovsdb-tool", "create", database, str(self._build.schema))
        self._start("ovsdb-server", database, f"--remote=punix:{self._socket}")
        netns.wait_until(self._socket.exists, "ovsdb-server", TIME_LIMIT)
        self.vsctl("--no-wait", "init")
        self.start_daemon()

    def start_daemon(self, *prefix: str) -> None:
        """Start ovs-vswitchd, by the command ``prefix`` if given (``unshare --pid --fork``).

        Returns when it has set up what the database says. OpenFlow rules are not in there.
        """
        self._start("ovs-vswitchd", f"unix:{self._socket}", prefix=prefix)
        netns.wait_until(lambda: self._control_socket() is not None, "ovs-vswitchd", TIME_LIMIT)
        # Returns when the daemon has followed; without a change it would not wait.
        self._starts += 1
        self.vsctl("set", "open_vswitch", ".", f"external_ids:starts={self._starts}")

    def stop_daemon(self) -> None:
        """Kill ovs-vswitchd; the datapath and its flows stay, as when it crashes."""
        self._kill("ovs-vswitchd")

    def stop(self) -> None:
        """Kill all."""
        for name in list(self._running):
            self._kill(name)

    @property
    def pid(self) -> int:
        """The process id of ovs-vswitchd, in the namespace of this process."""
        [pid] = self._pids("ovs-vswitchd")
        return pid

    @property
    def daemon_log(self) -> str:
        """What ovs-vswitchd has written to its log."""
        return (self.folder / "ovs-vswitchd.log").read_text()

    def vsctl(self, *arguments: str) -> str:
        """Run ``ovs-vsctl`` and return its output."""
        connection = (f"--db=unix:{self._socket}", f"--timeout={TIME_LIMIT:.0f}")
        return self._run("ovs-vsctl", *connection, *arguments)

    def ofctl(self, *arguments: str, text: str = "") -> str:
        """Run ``ovs-ofctl``, ``text`` its standard input, and return its output."""
        return self._run("ovs-ofctl", *arguments, text=text)

    def appctl(self, *arguments: str) -> str:
        """Run ``ovs-appctl`` on ovs-vswitchd and return its output."""
        return self._run("ovs-appctl", "-t", str(self._control_socket()), *arguments)

    def datapath_flows(self) -> list[DatapathFlow]:
        """The kernel's flows, with unabridged matches and names of ports."""
        dump = self.appctl("dpctl/dump-flows", "-m", "--names")
        found = re.finditer(
            r"^ufid:(\S+), (.+?), packets:(\d+), bytes:\d+, used:.*?\bactions:(.+)$", dump, re.M
        )
        return [DatapathFlow(f[1], f[2], int(f[3]), f[4]) for f in found]

    def datapath_ports(self) -> dict[str, int]:
        """The kernel's numbers of the ports, by name."""
        shown = self.appctl("dpctl/show")
        return {name: int(number) for number, name in re.findall(r"port (\d+): (\S+)", shown)}

    def lookups(self) -> tuple[int, int, int]:
        """How often the datapath found a flow, found none, and lost the upcall."""
        shown = self.appctl("dpctl/show", "--statistics")
        hit, missed, lost = re.findall(r"lookups: hit:(\d+) missed:(\d+) lost:(\d+)", shown)[0]
        return int(hit), int(missed), int(lost)

    def detrace(self, ufid: str) -> str:
        """The OpenFlow rules that a datapath flow was made from (``ofproto/detrace``)."""
        return self.appctl("ofproto/detrace", f"ufid:{ufid}")

    def forget_flows(self) -> None:
        """Empty the datapath's table: the next packet is an upcall."""
        self.appctl("revalidator/purge")
        netns.wait_until(lambda: not self.datapath_flows(), "revalidator/purge", TIME_LIMIT)

    @property
    def _socket(self) -> Path:
        return self.folder / "db.sock"

    def _control_socket(self) -> Path | None:
        # Named after the process, in whose own PID namespace it has the number.
        return next(iter(self.folder.glob("ovs-vswitchd.*.ctl")), None)

    def _start(self, name: str, *arguments: str, prefix: Sequence[str] = ()) -> None:
        # nsenter and not ip, which would bring a mount namespace too. --log-file: see daemon_log.
        enter = ["nsenter", f"--net=/run/netns/{self.ns}", *prefix]
        options = ("--pidfile", "--log-file", "--no-chdir")
        self._running[name] = subprocess.Popen(
            [*enter, str(self._build.folder / name), *arguments, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
        )

    def _kill(self, name: str) -> None:
        for pid in self._pids(name):  # the process itself, which need not be our child
            os.kill(pid, 9)
        process = self._running.pop(name)
        process.kill()
        process.wait()
        for path in (*self.folder.glob(f"{name}.*.ctl"), *self.folder.glob(f"{name}.pid")):
            path.unlink()

    def _pids(self, name: str) -> list[int]:
        """The processes of this switch that run the program ``name``."""
        wanted = f"OVS_RUNDIR={self.folder}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if folder.joinpath("exe").readlink() == self._build.folder / name:
                    environment = folder.joinpath("environ").read_bytes().split(b"\0")
                    found += [int(folder.name)] * (wanted in environment)
            except OSError:  # gone, or a kernel thread
                continue
        return found

    def _run(self, program: str, *arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [str(self._build.folder / program), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT + 10,
            check=False,
            env=self._environment(),
        )
        if done.returncode != 0:
            raise netns.LabError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        folders = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "OVS_PKGDATADIR")
        return {**os.environ, **dict.fromkeys(folders, str(self.folder))}


@dataclass(frozen=True, slots=True)
class Bridge:
    """Hosts, each with one interface, on the ports of an Open vSwitch bridge.

    Port ``ports[n]`` leads to ``hosts[n]`` and has the OpenFlow number n + 1.
    """

    switch: Switch
    name: str
    ports: tuple[str, ...]
    hosts: tuple[netns.Host, ...]

    def set_flows(self, *flows: str) -> None:
        """Replace the bridge's OpenFlow rules; returns when the datapath has no other's."""
        text = "".join(f"{flow}\n" for flow in flows)
        # OpenFlow 1.0 has the first table only.
        self.switch.ofctl("-O", "OpenFlow13", "replace-flows", self.name, "-", text=text)
        self.switch.appctl("revalidator/wait")


@contextmanager
def switch() -> Iterator[Switch]:
    """Open vSwitch without any bridge. The capability ``openvswitch`` says whether it can run."""
    build = openvswitch.cached()
    if build is None:
        raise netns.LabError("Open vSwitch is not built; run tests/vm/openvswitch.py")
    _load_module()
    with netns.namespace(ipv6=False) as ns:
        # A short path: that of a socket has 107 bytes at most.
        folder = Path(tempfile.mkdtemp(prefix="retis-ovs-", dir="/tmp"))
        made = Switch(build, ns, folder)
        try:
            made.start()
            yield made
        finally:
            made.stop()
            shutil.rmtree(folder)


@contextmanager
def bridge(ports: int = 2, *, mtu: int = 1500) -> Iterator[Bridge]:
    """A bridge whose ports 1 and 2 are JOINED by two OpenFlow rules; other packets are dropped.

    IPv4 only, all hosts permanent neighbours: on the bridge is what the test sends. ``mtu`` is
    that of hosts and ports.
    """
    number = next(_counter) % 256
    with ExitStack() as stack:
        made = stack.enter_context(switch())
        spaces = [stack.enter_context(netns.namespace(ipv6=False)) for _ in range(ports)]
        names = tuple(f"ovs{number}p{n}" for n in range(1, ports + 1))
        hosts = tuple(
            netns.Host(ns, "eth", f"02:00:00:05:{number:02x}:{n:02x}", f"10.205.{number}.{n}", "")
            for n, ns in enumerate(spaces, 1)
        )
        name = f"ovsbr{number}"
        _connect(made.ns, names, hosts, mtu)
        commands = [f"-- add-br {name} -- set bridge {name} fail_mode=secure"]
        commands += [
            f"-- add-port {name} {port} -- set interface {port} ofport_request={n}"
            for n, port in enumerate(names, 1)
        ]
        made.vsctl(*" ".join(commands).split())  # returns when the daemon has done it
        result = Bridge(made, name, names, hosts)
        result.set_flows(*JOINED)
        yield result


def _load_module() -> None:
    if not Path("/sys/module/openvswitch").exists():
        subprocess.run(["modprobe", "openvswitch"], check=True)


def _connect(ns: str, ports: Sequence[str], hosts: Sequence[netns.Host], mtu: int) -> None:
    lines = [
        f"link add {port} mtu {mtu} type veth"
        f" peer name {host.dev} address {host.mac} mtu {mtu} netns {host.ns}"
        for port, host in zip(ports, hosts, strict=True)
    ]
    netns.batch([*lines, *(f"link set {port} up" for port in ports)], ns)
    for host in hosts:
        entry = f"dev {host.dev} nud permanent"
        lines = [f"addr add {host.ip4}/24 dev {host.dev}", f"link set {host.dev} up"]
        lines += [f"neigh replace {h.ip4} lladdr {h.mac} {entry}" for h in hosts if h is not host]
        netns.batch(lines, host.ns)
