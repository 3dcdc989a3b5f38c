"""Network namespaces for functional tests, made and removed with iproute2's ``ip``.

with netns.pair() as pair:
    pair.left.run("ping", "-c1", pair.right.ip4)
"""

import itertools
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

_counter = itertools.count(1)


class LabError(Exception):
    """The lab itself failed: a command of the set-up, or something waited for that did not come."""


@dataclass(frozen=True, slots=True)
class Host:
    """One end of a link: a namespace with one interface beside lo."""

    ns: str
    dev: str
    mac: str
    ip4: str
    ip6: str

    @property
    def prefix(self) -> str:
        """What to put before a shell command to have it run in here, as for ``--cmd``."""
        return f"ip netns exec {self.ns}"

    def run(
        self, *command: str, check: bool = True, timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace to its end; LabError when it fails, unless ``check``."""
        return run(self.ns, command, check=check, timeout=timeout)

    @contextmanager
    def background(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command in the namespace until the block ends (a server)."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.ns, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def wait_for_port(self, port: int, *, udp: bool = False) -> None:
        """Wait until something listens on ``port`` in the namespace."""
        command = ["ss", "-Hnlu" if udp else "-Hnlt", f"sport = :{port}"]
        wait_until(lambda: bool(self.run(*command).stdout), f"port {port} in {self.ns}")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hosts on one veth pair."""

    left: Host
    right: Host


@contextmanager
def pair(*, ipv6: bool = True, neighbours: bool = True) -> Iterator[Pair]:
    """Two namespaces joined by a veth pair, up and with addresses.

    ``ipv6`` off switches IPv6 off in them, so that nothing is on the link that the test does not
    send. ``neighbours`` enters each end's link-layer address at the other: no ARP, no neighbour
    discovery. Duplicate address detection and router solicitations are always off.
    """
    number = next(_counter)
    left, right = (
        Host(
            ns=f"retis-{os.getpid()}-{number}{side}",
            dev=f"veth-{side}",
            mac=f"02:00:00:00:{number % 256:02x}:0{end}",
            ip4=f"10.99.{number % 256}.{end}",
            ip6=f"fd99:{number:x}::{end}",
        )
        for end, side in ((1, "a"), (2, "b"))
    )
    with namespace(left.ns, ipv6=ipv6), namespace(right.ns, ipv6=ipv6):
        peer = ["peer", "name", right.dev, "address", right.mac, "netns", right.ns]
        own = ["name", left.dev, "address", left.mac, "netns", left.ns]
        _ip("link", "add", *own, "type", "veth", *peer)
        _address(left, ipv6=ipv6)
        _address(right, ipv6=ipv6)
        if neighbours:
            _enter_neighbour(left, right, ipv6=ipv6)
            _enter_neighbour(right, left, ipv6=ipv6)
        for host in (left, right):
            wait_until(lambda host=host: _is_up(host), f"{host.dev} in {host.ns}")
        yield Pair(left, right)


@contextmanager
def namespace(name: str, *, ipv6: bool = True) -> Iterator[str]:
    """A network namespace with lo up; processes left in it are killed at the end."""
    with ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_remove, name)
        quiet = {"disable_ipv6": int(not ipv6), "accept_dad": 0, "router_solicitations": 0}
        for key, value in quiet.items():
            for scope in ("all", "default"):
                path = f"/proc/sys/net/ipv6/conf/{scope}/{key}"
                run(name, ["sh", "-c", f"[ ! -e {path} ] || echo {value} > {path}"])
        _ip("-n", name, "link", "set", "lo", "up")
        yield name


def run(
    ns: str, command: Sequence[str] | str, *, check: bool = True, timeout: float = 30.0
) -> subprocess.CompletedProcess[str]:
    """Run a command (a list, or text for a shell) in a namespace; its output is captured."""
    words = ["sh", "-c", command] if isinstance(command, str) else list(command)
    return _run(["ip", "netns", "exec", ns, *words], check=check, timeout=timeout)


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
    """Poll until ``condition`` holds; LabError naming ``what`` after ``timeout`` seconds.

    The default suits emulated CPUs, where starting a program takes a second.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout} s in vain for {what}")
        time.sleep(0.02)


def _address(host: Host, *, ipv6: bool) -> None:
    _ip("-n", host.ns, "addr", "add", f"{host.ip4}/24", "dev", host.dev)
    if ipv6:
        _ip("-n", host.ns, "addr", "add", f"{host.ip6}/64", "dev", host.dev, "nodad")
    _ip("-n", host.ns, "link", "set", host.dev, "up")


def _enter_neighbour(host: Host, other: Host, *, ipv6: bool) -> None:
    for address in [other.ip4, other.ip6] if ipv6 else [other.ip4]:
        entry = [address, "lladdr", other.mac, "dev", host.dev, "nud", "permanent"]
        _ip("-n", host.ns, "neigh", "replace", *entry)


def _is_up(host: Host) -> bool:
    return "state UP" in _ip("-n", host.ns, "link", "show", "dev", host.dev)


def _remove(name: str) -> None:
    for pid in _ip("netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _ip("netns", "del", name)


def _ip(*words: str) -> str:
    return _run(["ip", *words], check=True, timeout=30.0).stdout


def _run(command: list[str], *, check: bool, timeout: float) -> subprocess.CompletedProcess[str]:
    # No stdin: `ip netns exec` would otherwise share the test runner's.
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and result.returncode != 0:
        output = (result.stderr or result.stdout).strip()
        raise LabError(f"{shlex.join(command)}: exit {result.returncode}: {output}")
    return result
