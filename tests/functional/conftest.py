"""Fixtures that stand for what a functional test needs of the kernel (see lab/capabilities.py)."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import capabilities, netns, ovs
from lab.leftovers import Traces
from lab.spooled import quiet_link


@pytest.fixture
def root() -> None:
    """May load BPF programs and make namespaces."""
    capabilities.require("root")


@pytest.fixture
def btf() -> None:
    """The kernel describes its types."""
    capabilities.require("btf")


@pytest.fixture
def kprobes() -> None:
    """Kernel functions can be probed."""
    capabilities.require("kprobes")


@pytest.fixture
def modules() -> None:
    """Modules can be loaded (modprobe)."""
    capabilities.require("modules")


@pytest.fixture
def tracefs() -> None:
    """tracefs is mounted and lists the functions that can be probed."""
    capabilities.require("tracefs")


@pytest.fixture
def openvswitch(root: None) -> None:
    """The kernel has Open vSwitch's datapath, and there is a daemon with USDT probes."""
    capabilities.require("openvswitch")


@pytest.fixture
def pair(root: None) -> Iterator[netns.Pair]:
    """Two namespaces and a veth pair, IPv4 only: nothing but what the test sends is on it."""
    with netns.pair(ipv6=False) as made:
        yield made


@pytest.fixture
def pair6(root: None) -> Iterator[netns.Pair]:
    """As ``pair``, with IPv6 too (whose multicast listener reports are on the wire)."""
    with netns.pair(ipv6=True) as made:
        yield made


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    """A pair on which the kernel sends nothing by itself."""
    capabilities.require("root")
    with quiet_link() as made:
        yield made


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    """What a collection leaves."""
    return Traces(tmp_path / "tmp")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def bridge() -> Iterator[ovs.Bridge]:
    """Two hosts on a bridge of Open vSwitch, whose datapath's functions can be probed."""
    for name in ("root", "btf", "kprobes", "openvswitch"):
        capabilities.require(name)
    with ovs.bridge() as made:
        # Flows are to be there still when a collection has ended, which takes long when emulated.
        made.switch.vsctl("set", "Open_vSwitch", ".", "other_config:max-idle=600000")
        yield made
