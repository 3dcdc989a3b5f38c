"""Network namespaces for functional tests, made and removed with iproute2's ``ip``.

with netns.pair() as pair:
    pair.left.run("ping", "-c1", pair.right.ip4)
"""

import itertools
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    with _namespaces(left.ns, right.ns):
        _switch_off(right.ns, ipv6=ipv6)
        _switch_off(left.ns, ipv6=ipv6)
        own = f"name {left.dev} address {left.mac} netns {left.ns}"
        peer = f"peer name {right.dev} address {right.mac} netns {right.ns}"
        batch([f"link add {own} type veth {peer}"])
        for host, other in ((left, right), (right, left)):
            batch(_configuration(host, other, ipv6=ipv6, neighbours=neighbours), host.ns)
        wait_until(lambda: _is_up(left) and _is_up(right), f"{left.dev} and {right.dev}")
        yield Pair(left, right)


@contextmanager
def namespace(*, ipv6: bool = True) -> Iterator[str]:
    """One network namespace, its name, with nothing but lo, which is up."""
    name = f"retis-{os.getpid()}-{next(_counter)}"
    with _namespaces(name):
        _switch_off(name, ipv6=ipv6)
        batch(["link set lo up"], name)
        yield name


def run(
    ns: str, command: Sequence[str] | str, *, check: bool = True, timeout: float = 30.0
) -> subprocess.CompletedProcess[str]:
    """Run a command (a list, or text for a shell) in a namespace; its output is captured."""
    words = ["sh", "-c", command] if isinstance(command, str) else list(command)
    return _run(["ip", "netns", "exec", ns, *words], check=check, timeout=timeout)


def batch(lines: Sequence[str], ns: str | None = None) -> None:
    """Have one ``ip`` do all of ``lines``, in a namespace if given.

    Starting a program is what takes time under emulated CPUs.
    """
    command = ["ip", *(["-n", ns] if ns else []), "-batch", "-"]
    _run(command, text="\n".join(lines) + "\n")


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
    """Poll until ``condition`` holds; LabError naming ``what`` after ``timeout`` seconds.

    The default suits emulated CPUs, where starting a program takes a second.
    """
    deadline = time.monotonic() + timeout
    while True:
        asked = time.monotonic()
        if condition():
            return
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout} s in vain for {what}")
        # A condition that starts programs leaves the CPU as long to what it waits for.
        time.sleep(max(0.02, time.monotonic() - asked))


@contextmanager
def _namespaces(*names: str) -> Iterator[None]:
    batch([f"netns add {name}" for name in names])
    try:
        yield
    finally:
        batch([f"netns del {name}" for name in names])


def _switch_off(ns: str, *, ipv6: bool) -> None:
    """Before there are interfaces: they take these over."""
    values = {"disable_ipv6": int(not ipv6), "accept_dad": 0, "router_solicitations": 0}
    lines = [
        f"echo {value} > /proc/sys/net/ipv6/conf/{scope}/{key}"
        for key, value in values.items()
        for scope in ("all", "default")
    ]
    # A kernel without IPv6 has none of these files.
    run(ns, "[ ! -e /proc/sys/net/ipv6 ] || { " + " && ".join(lines) + "; }")


def _configuration(host: Host, other: Host, *, ipv6: bool, neighbours: bool) -> list[str]:
    lines = ["link set lo up", f"addr add {host.ip4}/24 dev {host.dev}"]
    if ipv6:
        lines.append(f"addr add {host.ip6}/64 dev {host.dev} nodad")
    lines.append(f"link set {host.dev} up")
    if neighbours:
        entry = f"lladdr {other.mac} dev {host.dev} nud permanent"
        lines += [f"neigh replace {ip} {entry}" for ip in [other.ip4, other.ip6][: 1 + ipv6]]
    return lines


def _is_up(host: Host) -> bool:
    shown = _run(["ip", "-n", host.ns, "link", "show", "dev", host.dev])
    return "state UP" in shown.stdout


def _run(
    command: list[str], *, check: bool = True, timeout: float = 30.0, text: str = ""
) -> subprocess.CompletedProcess[str]:
    # With input, if only none: a command in a namespace shall not read the test runner's.
    result = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and result.returncode != 0:
        output = (result.stderr or result.stdout).strip()
        problem = f"{shlex.join(command)}: exit {result.returncode}: {output}"
        raise LabError(f"{problem}\n{text}".rstrip())
    return result
