"""Fixtures that stand for what a functional test needs of the kernel (see lab/capabilities.py)."""

from collections.abc import Iterator

import pytest

from lab import capabilities, netns, ovs


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
def bridge() -> Iterator[ovs.Bridge]:
    """Two hosts on a bridge of Open vSwitch, whose datapath's functions can be probed."""
    for name in ("root", "btf", "kprobes", "openvswitch"):
        capabilities.require(name)
    with ovs.bridge() as made:
        # Flows are to be there still when a collection has ended, which takes long when emulated.
        made.switch.vsctl("set", "Open_vSwitch", ".", "other_config:max-idle=600000")
        yield made
