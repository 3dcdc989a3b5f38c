"""Open vSwitch's datapath as the collector ovs tells of it, against what ovs-vswitchd says."""

import re
import shlex
from dataclasses import dataclass

import pytest

from lab import capabilities, cli, frames, ovs
from lab.collection import Collection, Event, collect, packet_bytes, temporary_path
from lab.reference import read_alike
from retis_py.events.sections.ovs_detrace import ufid_text

pytestmark = pytest.mark.timeout(900)

COLLECTORS = "skb,skb-tracking,skb-drop,dev,ns,ovs"
MISS = 1  # OVS_PACKET_CMD_MISS
ZONE = 7
TRANSLATED, DROPPED = 4000, 4001  # UDP ports
ECHO_REQUEST = 8


@dataclass(frozen=True, slots=True)
class Traced:
    """A collection, and the datapath's flows at its end."""

    collection: Collection
    flows: list[ovs.DatapathFlow]
    ports: dict[str, int]
    texts: list[str]  # of the section ovs

    def ovs(self, event_type: str, chosen: list[Event] | None = None) -> list[Event]:
        """The events of one type, in the order of time."""
        events = self.collection.events if chosen is None else chosen
        found = [e for e in events if e.get("ovs", {}).get("event_type") == event_type]
        return sorted(found, key=time)


def time(event: Event) -> int:
    timestamp: int = event["common"]["timestamp"]
    return timestamp


def traced(bridge: ovs.Bridge, packet_filter: str, command: str) -> Traced:
    bridge.switch.forget_flows()
    with temporary_path() as path:
        made = collect("-c", COLLECTORS, "-f", packet_filter, path=path, cmd=command)
        texts = texts_as_the_reference_has_them(made)
    switch = bridge.switch
    return Traced(made, switch.datapath_flows(), switch.datapath_ports(), texts)


def texts_as_the_reference_has_them(made: Collection) -> list[str]:
    """Texts of the section, once all events are read alike by retis's own library."""
    return [str(event.ovs) for event in read_alike(made.path) if event.ovs is not None]


@pytest.fixture(scope="module")
def ping(bridge: ovs.Bridge) -> Traced:
    left, right = bridge.hosts[:2]
    command = f"{left.prefix} ping -c 2 -i 0.5 -W 10 {right.ip4}"
    return traced(bridge, "icmp", command)


@pytest.fixture(scope="module")
def requests(ping: Traced) -> list[list[Event]]:
    """The events of the first and the second echo request, by what is in the packet."""
    found: dict[int, list[Event]] = {}
    for event in ping.collection.events:
        icmp = packet_bytes(event)[34:]
        if icmp and icmp[0] == ECHO_REQUEST:
            found.setdefault(int.from_bytes(icmp[6:8], "big"), []).append(event)
    assert sorted(found) == [1, 2]
    return [found[1], found[2]]


def test_first_packet_is_an_upcall(ping: Traced, requests: list[list[Event]]) -> None:
    [lookup] = [e for e in ping.ovs("flow_lookup", requests[0]) if not e["ovs"]["flow"]]
    [upcall] = ping.ovs("upcall", requests[0])
    [enqueue] = ping.ovs("upcall_enqueue", requests[0])
    [end] = ping.ovs("upcall_return", requests[0])
    assert time(lookup) < time(upcall) < time(enqueue) < time(end)
    assert lookup["ovs"]["ufid"] == [0, 0, 0, 0]
    assert upcall["kernel"] == {
        "symbol": "openvswitch:ovs_dp_upcall",
        "probe_type": "raw_tracepoint",
    }
    assert enqueue["kernel"] == {"symbol": "queue_userspace_packet", "probe_type": "kretprobe"}
    assert end["kernel"] == {"symbol": "ovs_dp_upcall", "probe_type": "kretprobe"}
    assert upcall["ovs"]["cmd"] == enqueue["ovs"]["cmd"] == MISS
    assert upcall["ovs"]["port"] == enqueue["ovs"]["port"] != 0
    assert upcall["ovs"]["cpu"] == upcall["common"]["smp_id"]
    for event in (enqueue, end):
        assert event["ovs"]["upcall_ts"] == time(upcall)
        assert event["ovs"]["upcall_cpu"] == upcall["ovs"]["cpu"]
        assert event["ovs"]["ret"] == 0
        assert event["skb-tracking"] == upcall["skb-tracking"]


def test_each_upcall_has_a_queue_id_of_its_own(ping: Traced) -> None:
    ids = [event["ovs"]["queue_id"] for event in ping.ovs("upcall_enqueue")]
    assert len(ids) == len(set(ids)) == 2  # a request and a reply


def test_second_packet_is_a_hit(
    bridge: ovs.Bridge, ping: Traced, requests: list[list[Event]]
) -> None:
    left, right = bridge.ports
    [flow] = [flow for flow in ping.flows if flow.actions == right]
    assert f"in_port({left})" in flow.match
    [lookup] = ping.ovs("flow_lookup", requests[1])
    assert lookup["kernel"] == {"symbol": "ovs_flow_tbl_lookup_stats", "probe_type": "kretprobe"}
    assert ufid_text(tuple(lookup["ovs"]["ufid"])) == flow.ufid
    assert lookup["ovs"]["flow"] > 1 << 63
    assert lookup["ovs"]["sf_acts"] > 1 << 63
    assert lookup["ovs"]["n_mask_hit"] >= 1
    assert lookup["ovs"]["n_cache_hit"] in (0, 1)
    assert not ping.ovs("upcall", requests[1])
    [action] = ping.ovs("action_execute", requests[1])
    assert action["ovs"] == {
        "event_type": "action_execute",
        "action": "output",
        "port": ping.ports[right],
        "recirc_id": 0,
    }
    assert time(lookup) < time(action)


def test_silent_probe_makes_no_event(ping: Traced) -> None:
    assert not ping.collection.at("ovs_dp_process_packet")
    assert "none lost" in ping.collection.result.stderr


def test_a_probe_that_was_asked_for_makes_events(bridge: ovs.Bridge) -> None:
    left, right = bridge.hosts[:2]
    with temporary_path() as path:
        probe = ("-p", "ovs_dp_process_packet")
        command = f"{left.prefix} ping -c 1 -W 10 {right.ip4}"
        made = collect("-c", COLLECTORS, "-f", "icmp", *probe, path=path, cmd=command)
    assert len(made.at("ovs_dp_process_packet", "kprobe")) == 2
    assert len([e for e in made.events if "ovs" in e]) >= 4
    assert not made.at("net:netif_receive_skb")


def test_other_packets_are_not_told(bridge: ovs.Bridge) -> None:
    """A filter holds for upcalls and lookups, which have no packet of their own."""
    left, right = bridge.hosts[:2]
    command = f"{left.prefix} ping -c 1 -W 10 {right.ip4}"
    found = traced(bridge, "tcp port 1", command)
    assert not found.collection.events


@pytest.fixture(scope="module")
def rules(bridge: ovs.Bridge) -> Traced:
    """UDP through connection tracking with NAT, and dropped."""
    left, right = bridge.hosts[:2]
    subnet = left.ip4.rpartition(".")[0]
    bridge.set_flows(
        f"table=0,priority=9,in_port=1,udp,tp_dst={TRANSLATED} actions=ct(commit,zone={ZONE},"
        f"nat(src={subnet}.50-{subnet}.51:5000-5009,random,persistent),table=1)",
        f"table=0,priority=9,in_port=1,udp,tp_dst={DROPPED} actions=drop",
        "table=1 actions=output:2",
    )
    script = "; ".join(
        f"for i in 1 2; do echo ovs > /dev/udp/{right.ip4}/{port}; sleep 0.5; done"
        for port in (TRANSLATED, DROPPED)
    )
    command = f"{left.prefix} bash -c {shlex.quote(script)}"
    try:
        return traced(bridge, f"udp and host {right.ip4}", command)
    finally:
        bridge.set_flows(*ovs.JOINED)


def to_port(rules: Traced, port: int) -> list[Event]:
    return [
        event
        for event in rules.collection.events
        if (frame := frames.parse(packet_bytes(event))).protocol == frames.UDP
        and frame.ports[1] == port
    ]


def test_connection_tracking_and_recirculation(bridge: ovs.Bridge, rules: Traced) -> None:
    subnet = bridge.hosts[0].ip4.rpartition(".")[0]
    actions = [e["ovs"] for e in rules.ovs("action_execute", to_port(rules, TRANSLATED))]
    [ct, *_] = [action for action in actions if action["action"] == "ct"]
    assert ct["zone_id"] == ZONE
    assert ct["recirc_id"] == 0
    assert ct["nat"] == {
        "dir": "src",
        "min_addr": f"{subnet}.50",
        "max_addr": f"{subnet}.51",
        "min_port": 5000,
        "max_port": 5009,
    }
    [recirc, *_] = [action for action in actions if action["action"] == "recirc"]
    [shown, *_] = [
        match[1] for f in rules.flows if (match := re.search(r"recirc\((0x\w+)\)", f.actions))
    ]
    assert recirc["id"] == int(shown, 16)
    outputs = [action for action in actions if action["action"] == "output"]
    # What the daemon sends back is in its first pass again.
    assert [action["recirc_id"] for action in outputs] == [0, recirc["id"]]
    assert {action["port"] for action in outputs} == {rules.ports[bridge.ports[1]]}


def test_text_of_connection_tracking(bridge: ovs.Bridge, rules: Traced) -> None:
    subnet = bridge.hosts[0].ip4.rpartition(".")[0]
    nat = f"nat(src={subnet}.50-{subnet}.51:5000-5009)"
    assert f"exec ct zone {ZONE} {nat} commit,persistent,random" in rules.texts


def test_lookups_name_the_flows(rules: Traced) -> None:
    """Each flow that was used, recirculation's too, is the one that the daemon shows."""
    hits = [e["ovs"] for e in rules.ovs("flow_lookup") if e["ovs"]["flow"]]
    assert {ufid_text(tuple(hit["ufid"])) for hit in hits} <= {flow.ufid for flow in rules.flows}
    assert len({tuple(hit["ufid"]) for hit in hits}) >= 3


def test_drop(rules: Traced) -> None:
    """The action is there since Linux 6.8; before, a flow without actions drops."""
    events = to_port(rules, DROPPED)
    actions = [e["ovs"] for e in rules.ovs("action_execute", events)]
    [flow] = [f for f in rules.flows if f"dst={DROPPED}" in f.match]
    assert flow.actions == "drop"
    second = [a for a in actions if a["action"] == "drop"]
    if not second:
        assert not [a for a in actions if a["action"] == "output"]
        return
    assert all(action["reason"] == 0 and action["recirc_id"] == 0 for action in second)
    drops = [e["skb-drop"] for e in events if "skb-drop" in e]
    assert {"subsys": "openvswitch", "drop_reason": "EXPLICIT"} in drops


def test_auto_has_it() -> None:
    capabilities.require("root")
    capabilities.require("openvswitch")
    result = cli.retis("collect", "--cmd", "true", timeout=300)
    assert re.search(r"Collector\(s\) started: .*\bovs\b", result.stderr), result.stderr
