"""The lab's Open vSwitch: packets go through its datapath, and nothing of it stays behind."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab import capabilities, netns, ovs
from lab.usdt import argument_reader, compile_reader
from retis_py.kernel.host import Host
from retis_py.kernel.processes import processes_of
from retis_py.kernel.usdt import read_probes

NOP = 0x90  # what sys/sdt.h puts where a probe can be, on x86-64

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def bridge() -> Iterator[ovs.Bridge]:
    for name in ("root", "openvswitch"):
        capabilities.require(name)
    with ovs.bridge() as made:
        yield made


def ping(bridge: ovs.Bridge, count: int = 1) -> None:
    left, right = bridge.hosts[:2]
    result = left.run("ping", "-c", str(count), "-i", "0.2", "-W", "10", right.ip4)
    assert f" {count} received" in result.stdout


def test_module_is_loaded_and_describes_its_types(bridge: ovs.Bridge) -> None:
    modules = Host().modules
    assert modules.available("openvswitch")
    assert modules.has_btf("openvswitch")


def test_probes_of_the_daemon_are_found(bridge: ovs.Bridge) -> None:
    """Those of readelf, where its output says that they are; and the bytes there are code."""
    pid = bridge.switch.pid
    [process] = [p for p in processes_of("ovs-vswitchd") if p.pid == pid]
    probes = read_probes(process.file.path)
    assert {(p.symbol, p.address) for p in probes} == notes(process.executable)
    assert {
        "dpif_recv:recv_upcall": 6,
        "dpif_netlink_operate__:op_flow_put": 4,
        "dpif_netlink_operate__:op_flow_execute": 5,
    }.items() <= {p.symbol: len(p.arguments) for p in probes}.items()
    assert all(None not in probe.arguments for probe in probes)
    code = process.file.path.read_bytes()
    assert {code[probe.offset] for probe in probes} == {NOP}
    assert not [probe for probe in probes if probe.semaphore]


def test_arguments_of_the_daemons_probes_are_read(bridge: ovs.Bridge) -> None:
    """Of a packet that is an upcall: how long it is, and how long its key."""
    capabilities.require("btf")
    process = next(p for p in processes_of("ovs-vswitchd") if p.pid == bridge.switch.pid)
    [probe] = [p for p in read_probes(process.file.path) if p.symbol == "dpif_recv:recv_upcall"]
    _, kind, _, size, _, key_size = probe.arguments
    assert kind
    assert size
    assert key_size
    with argument_reader(compile_reader()) as reader:
        for argument in (kind, size, key_size):
            reader.attach(process.file.path, probe, argument)
        bridge.switch.forget_flows()
        ping(bridge)
        assert reader.value(kind) == 0  # DPIF_UC_MISS
        assert reader.value(size) == 14 + 20 + 8 + 56
        assert reader.value(key_size) in range(64, 512)


def notes(executable: str) -> set[tuple[str, int]]:
    shown = subprocess.check_output(["readelf", "--notes", "--wide", executable], text=True)
    found = re.findall(r"Provider: (\S+)\s+Name: (\S+)\s+Location: (0x[0-9a-f]+)", shown)
    return {(f"{provider}:{name}", int(address, 16)) for provider, name, address in found}


def test_first_packet_is_an_upcall_and_the_second_a_hit(bridge: ovs.Bridge) -> None:
    switch = bridge.switch
    switch.forget_flows()
    hit, missed, lost = switch.lookups()
    ping(bridge, 2)
    # A request and a reply, each with a flow of its own, twice.
    assert switch.lookups() == (hit + 2, missed + 2, lost)


def test_flows_are_those_of_the_packets(bridge: ovs.Bridge) -> None:
    ping(bridge, 2)
    flows = {flow.actions: flow for flow in bridge.switch.datapath_flows()}
    left, right = bridge.ports
    assert flows.keys() == {left, right}
    for port, other in ((left, right), (right, left)):
        flow = flows[other]
        assert f"in_port({port})" in flow.match
        assert "eth_type(0x0800)" in flow.match
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", flow.ufid)
    assert len(set(bridge.switch.datapath_ports().values())) == 4  # ovs-system, the bridge's own


def test_detrace_names_the_rule(bridge: ovs.Bridge) -> None:
    switch = bridge.switch
    ping(bridge)
    [flow] = [flow for flow in switch.datapath_flows() if flow.actions == bridge.ports[1]]

    def traced() -> bool:
        ping(bridge)  # the daemon keeps what a flow was made of only once it has seen it in use
        switch.appctl("revalidator/wait")
        return "actions=output:2" in switch.detrace(flow.ufid)

    netns.wait_until(traced, "ofproto/detrace", ovs.TIME_LIMIT)


def test_requests_are_logged_when_asked_for(bridge: ovs.Bridge) -> None:
    bridge.switch.appctl("vlog/set", "unixctl:file:dbg")
    before = bridge.switch.daemon_log.count("received request dpctl/show")
    bridge.switch.datapath_ports()
    assert bridge.switch.daemon_log.count("received request dpctl/show") == before + 1


def test_other_rules(bridge: ovs.Bridge) -> None:
    left, right = bridge.hosts[:2]
    bridge.set_flows("actions=drop")
    try:
        assert left.run("ping", "-c1", "-W1", right.ip4, check=False).returncode == 1
    finally:
        bridge.set_flows(*ovs.JOINED)
    ping(bridge)


@pytest.mark.parametrize("prefix", [(), ("unshare", "--pid", "--fork")], ids=["same", "own"])
def test_daemon_can_be_restarted(bridge: ovs.Bridge, prefix: tuple[str, ...]) -> None:
    """In the PID namespace of the test, and in one of its own."""
    switch = bridge.switch
    before = switch.pid
    switch.stop_daemon()
    assert not Path(f"/proc/{before}/exe").exists()
    switch.start_daemon(*prefix)
    assert switch.pid != before
    inside = re.findall(r"^NSpid:.*?(\d+)$", Path(f"/proc/{switch.pid}/status").read_text(), re.M)
    assert inside == ["1" if prefix else str(switch.pid)]
    bridge.set_flows(*ovs.JOINED)
    ping(bridge)
    assert {flow.actions for flow in switch.datapath_flows()} == set(bridge.ports)


def test_nothing_stays_behind(bridge: ovs.Bridge) -> None:
    """Of a second switch, while the first one runs on."""
    with ovs.bridge() as second:
        ping(second)
        namespaces = {second.switch.ns, *(host.ns for host in second.hosts)}
        folder, pid = second.switch.folder, second.switch.pid
        assert bytes(folder) in processes()
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert bytes(folder) not in processes()
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not namespaces & set(names.split())
    assert not list(Path("/sys/class/net").glob("ovs*"))
    ping(bridge)


def processes() -> bytes:
    """The command lines of all."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # gone meanwhile
            lines.append(path.read_bytes())
    return b"\n".join(lines)
