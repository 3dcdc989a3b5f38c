"""Packets followed through ovs-vswitchd: from the datapath to the daemon and back, one series."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from lab import cli, frames, ovs
from lab.collection import Event, collect, packet_bytes, read, sender, temporary_path
from lab.journeys import Journeys, Series, of_type, sort
from lab.netns import wait_until
from lab.reference import read_alike
from retis_py.events.sections.ovs_detrace import ufid_text

pytestmark = pytest.mark.timeout(900)

COLLECTORS = "skb,skb-tracking,ovs"
TRANSLATED, DROPPED, SEGMENTED, BURST = 4000, 4001, 4002, 5000  # UDP ports
QUEUED = ("upcall_enqueue", "recv_upcall", "flow_operation")


@dataclass(frozen=True, slots=True)
class Traced:
    """A collection, sorted; the datapath's flows and ports at its end."""

    journeys: Journeys
    flows: list[ovs.DatapathFlow]
    ports: dict[str, int]

    @property
    def stderr(self) -> str:
        return self.journeys.collection.result.stderr


def traced(bridge: ovs.Bridge, packet_filter: str, command: str) -> Traced:
    bridge.switch.forget_flows()
    with temporary_path() as path:
        arguments = ("-c", COLLECTORS, "-f", packet_filter, "--ovs-track")
        made = collect(*arguments, profile="generic", path=path, cmd=command)
        read_alike(path)
        journeys = sort(made)
    switch = bridge.switch
    return Traced(journeys, switch.datapath_flows(), switch.datapath_ports())


def ping(bridge: ovs.Bridge, count: int) -> str:
    left, right = bridge.hosts[:2]
    return f"{left.prefix} ping -c {count} -i 0.5 -W 20 {right.ip4}"


def step(event: Event) -> str:
    """What happens, by the name of the step."""
    section = event.get("ovs", {})
    match section.get("event_type"):
        case "flow_operation":
            return f"flow_{section['op_type']}"
        case None:
            symbol: str = event["kernel"]["symbol"]
            return symbol
        case kind:
            return str(kind)


def in_order(series: Series, steps: Sequence[str]) -> list[Event]:
    """The first event of each step, behind that of the one before."""
    rest = iter(series)
    found = []
    for wanted in steps:
        event = next((e for e in rest if step(e) == wanted), None)
        assert event is not None, f"no {wanted} at its place in {[step(e) for e in series]}"
        found.append(event)
    return found


def requests(traced: Traced) -> list[Series]:
    """The series of echo requests, in the order of their numbers."""
    found = {}
    for series in traced.journeys.series:
        icmp = packet_bytes(series[0])[34:]
        if icmp and icmp[0] == frames.ECHO_REQUEST:
            number = int.from_bytes(icmp[6:8], "big")
            assert number not in found, "two series of one packet"
            found[number] = series
    return [found[number] for number in sorted(found)]


def all_is_joined(journeys: Journeys) -> None:
    """No upcall's event lies outside the series of its packet."""
    for series in journeys.series:
        kinds = [e["ovs"]["event_type"] for e in series if "ovs" in e]
        if {"upcall", "upcall_return", *QUEUED} & set(kinds):
            assert "upcall" in kinds, kinds


def queue_ids(events: Iterator[Event]) -> Counter[int]:
    return Counter(e["ovs"]["queue_id"] for e in events if "queue_id" in e["ovs"])


@pytest.fixture(scope="module")
def pinged(bridge: ovs.Bridge) -> Traced:
    return traced(bridge, "icmp", ping(bridge, 2))


def test_the_first_packet_goes_through_user_space(bridge: ovs.Bridge, pinged: Traced) -> None:
    first, _ = requests(pinged)
    steps = [
        "upcall",
        "upcall_enqueue",
        "recv_upcall",
        "flow_put",
        "flow_exec",
        "action_execute",
        "net:net_dev_start_xmit",
    ]
    upcall, enqueue, receive, put, execute, action, sent = in_order(first, steps)
    assert upcall["kernel"]["symbol"] == "openvswitch:ovs_dp_upcall"
    assert enqueue["ovs"]["ret"] == 0
    joined = [event["ovs"]["queue_id"] for event in (enqueue, receive, put, execute, action)]
    assert set(joined) == {enqueue["ovs"]["queue_id"]}
    assert action["ovs"]["action"] == "output"
    assert action["ovs"]["port"] == pinged.ports[bridge.ports[1]]
    assert sent["common"]["task"]["comm"].startswith("handler")
    assert sent["skb-tracking"]["orig_head"] == action["skb-tracking"]["orig_head"]
    assert packet_bytes(sent)[34] == frames.ECHO_REQUEST


def test_events_of_user_space(bridge: ovs.Bridge, pinged: Traced) -> None:
    first, _ = requests(pinged)
    receive, put, execute = in_order(first, ["recv_upcall", "flow_put", "flow_exec"])
    for event in (receive, put, execute):
        user, task = event["userspace"], event["common"]["task"]
        assert user["probe_type"] == "usdt"
        assert user["pid"] == bridge.switch.pid == task["tgid"]
        assert user["tid"] == task["pid"] != user["pid"]
        assert user["path"].endswith("/ovs-vswitchd")
        assert task["comm"].startswith("handler")
        assert "kernel" not in event
        assert "skb-tracking" not in event
        assert event["ovs"]["batch_ts"] == receive["common"]["timestamp"]
        assert event["ovs"]["batch_idx"] == 0
    assert [e["userspace"]["symbol"] for e in (receive, put, execute)] == [
        "dpif_recv:recv_upcall",
        "dpif_netlink_operate__:op_flow_put",
        "dpif_netlink_operate__:op_flow_execute",
    ]
    assert receive["ovs"]["type"] == 0  # DPIF_UC_MISS
    assert receive["ovs"]["pkt_size"] == 14 + 20 + 8 + 56
    assert receive["ovs"]["key_size"] in range(64, 512)


def test_the_second_packet_is_a_hit(bridge: ovs.Bridge, pinged: Traced) -> None:
    left, right = bridge.ports
    [flow] = [flow for flow in pinged.flows if flow.actions == right]
    assert f"in_port({left})" in flow.match
    _, second = requests(pinged)
    lookup, action, _ = in_order(
        second, ["flow_lookup", "action_execute", "net:net_dev_start_xmit"]
    )
    assert lookup["ovs"]["flow"]
    assert ufid_text(tuple(lookup["ovs"]["ufid"])) == flow.ufid
    assert (action["ovs"]["action"], action["ovs"]["port"]) == ("output", pinged.ports[right])
    assert "queue_id" not in action["ovs"]
    assert not [e for e in second if step(e) in ("upcall", "recv_upcall", "flow_put")]


def test_nothing_is_left_out(pinged: Traced) -> None:
    all_is_joined(pinged.journeys)
    assert len(list(pinged.journeys.ovs("upcall"))) == 2  # a request and a reply
    assert "none lost" in pinged.stderr
    assert "no longer followed" not in pinged.stderr
    assert re.search(
        r"process \d+ \(/\S+/ovs-vswitchd\): 3 USDT probe\(s\) attached", pinged.stderr
    )


# One call of the kernel, that sends so many datagrams of so many bytes (UDP_SEGMENT, udp(7)).
SEND_SEGMENTED = (
    "import socket; sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
    " sender.setsockopt(17, 103, {size});"
    ' sender.sendto(bytes({size} * {count}), ("{address}", {port}))'
)


def test_segments(bridge: ovs.Bridge) -> None:
    """A packet that is cut for its way up is the series of all its segments."""
    left, right = bridge.hosts[:2]
    size, count = 1000, 5
    script = SEND_SEGMENTED.format(size=size, count=count, address=right.ip4, port=SEGMENTED)
    command = f"{left.prefix} /usr/bin/python3 -IS -c {shlex.quote(script)}; sleep 1"
    found = traced(bridge, f"udp port {SEGMENTED}", command)
    assert len(list(found.journeys.ovs("upcall"))) == 1
    ids = queue_ids(found.journeys.ovs("upcall_enqueue"))
    assert ids.total() == len(ids) == count
    assert queue_ids(found.journeys.ovs("recv_upcall")) == ids
    executed = [e for e in found.journeys.ovs("flow_operation") if step(e) == "flow_exec"]
    assert queue_ids(iter(executed)) == ids
    assert queue_ids(found.journeys.ovs("action_execute")) == ids
    assert {e["ovs"]["pkt_size"] for e in found.journeys.ovs("recv_upcall")} == {42 + size}
    [series] = [s for s in found.journeys.series if list(of_type("upcall", s))]
    sent = [e for e in series if step(e) == "net:net_dev_start_xmit"]
    assert len([e for e in sent if e["common"]["task"]["comm"].startswith("handler")]) == count
    all_is_joined(found.journeys)


@pytest.fixture(scope="module")
def rules(bridge: ovs.Bridge) -> Traced:
    """UDP through connection tracking with NAT, and dropped."""
    left, right = bridge.hosts[:2]
    subnet = left.ip4.rpartition(".")[0]
    bridge.set_flows(
        f"table=0,priority=9,in_port=1,udp,tp_dst={TRANSLATED} actions=ct(commit,zone=7,"
        f"nat(src={subnet}.50-{subnet}.51:5000-5009),table=1)",
        f"table=0,priority=9,in_port=1,udp,tp_dst={DROPPED} actions=drop",
        "table=1 actions=output:2",
    )
    script = "; ".join(
        f"for i in 1 2; do echo ovs > /dev/udp/{right.ip4}/{port}; sleep 1; done"
        for port in (TRANSLATED, DROPPED)
    )
    command = f"{left.prefix} bash -c {shlex.quote(script)}"
    try:
        return traced(bridge, f"udp and host {right.ip4}", command)
    finally:
        bridge.set_flows(*ovs.JOINED)


def to_port(found: Traced, port: int) -> list[Series]:
    """The series of datagrams to a port, each with its events in the datapath."""
    return [
        series
        for series in found.journeys.series
        if frames.parse(packet_bytes(series[0])).ports[1] == port
    ]


def test_connection_tracking_and_recirculation(rules: Traced) -> None:
    """The packet comes up twice, for the second time when it was sent back after the first."""
    first, second = to_port(rules, TRANSLATED)
    steps = ["upcall", "upcall_enqueue", "recv_upcall", "flow_put", "flow_exec", "action_execute"]
    events = in_order(first, [*steps, *steps, "net:net_dev_start_xmit"])
    way, back = events[:6], events[6:12]
    for part in (way, back):
        assert len({event["ovs"]["queue_id"] for event in part[1:]}) == 1
    assert way[1]["ovs"]["queue_id"] != back[1]["ovs"]["queue_id"]
    assert way[5]["ovs"]["action"] == "ct"
    assert way[5]["ovs"]["nat"]["min_port"] == 5000
    recirc = next(e for e in of_type("action_execute", first) if e["ovs"]["action"] == "recirc")
    assert recirc["ovs"]["queue_id"] == way[5]["ovs"]["queue_id"]
    assert back[5]["ovs"]["action"] == "output"
    assert not list(of_type("recv_upcall", second))
    all_is_joined(rules.journeys)


def test_drop(rules: Traced) -> None:
    """The first one is up, and nothing is sent out; the kernel has the action since Linux 6.8."""
    first, second = to_port(rules, DROPPED)
    in_order(first, ["upcall", "upcall_enqueue", "recv_upcall", "flow_put"])
    for series in (first, second):
        for action in of_type("action_execute", series):
            assert action["ovs"]["action"] == "drop"
            assert action["ovs"]["reason"] == 0
    if list(of_type("action_execute", second)):
        [put] = [e for e in first if step(e) == "flow_put"]
        [execute] = [e for e in first if step(e) == "flow_exec"]
        assert put["ovs"]["queue_id"] == execute["ovs"]["queue_id"]
        drops = [e["skb-drop"] for e in second if "skb-drop" in e]
        assert {"subsys": "openvswitch", "drop_reason": "EXPLICIT"} in drops


def test_burst(bridge: ovs.Bridge) -> None:
    """500 packets of four flows while the daemon stands still: each is joined, or told as lost."""
    left, right = bridge.hosts[:2]
    pid = bridge.switch.pid
    _, _, lost_before = bridge.switch.lookups()
    sending = [sender(left, "udp-many", right.ip4, BURST + n, 100, 125) for n in range(4)]
    bridge.set_flows(
        *(f"in_port=1,udp,tp_dst={BURST + n} actions=output:2" for n in range(4)),
    )
    command = f"kill -STOP {pid}; {'; '.join(sending)}; kill -CONT {pid}; sleep 8"
    try:
        found = traced(bridge, f"udp and host {right.ip4}", command)
    finally:
        bridge.set_flows(*ovs.JOINED)
    _, _, lost = bridge.switch.lookups()
    queued = list(found.journeys.ovs("upcall_enqueue"))
    assert len(queued) == len(list(found.journeys.ovs("upcall"))) == 500
    refused = [e for e in queued if e["ovs"]["ret"]]
    assert len(refused) == lost - lost_before
    ids = queue_ids(e for e in queued if not e["ovs"]["ret"])
    assert max(ids.values()) == 1
    assert queue_ids(found.journeys.ovs("recv_upcall")) == ids
    operations = list(found.journeys.ovs("flow_operation"))
    assert queue_ids(e for e in operations if step(e) == "flow_exec") == ids
    puts = queue_ids(e for e in operations if step(e) == "flow_put")
    assert len(puts) == puts.total() == 4
    assert queue_ids(found.journeys.ovs("action_execute")) == ids
    assert max(e["ovs"]["batch_idx"] for e in found.journeys.ovs("recv_upcall")) == 63
    all_is_joined(found.journeys)
    # Each of them is one packet's.
    for series in found.journeys.series:
        assert len(list(of_type("recv_upcall", series))) <= 1
    assert "none lost" in found.stderr


def has_a_way_through_user_space(journeys: Journeys, pid: int) -> bool:
    return any(e["userspace"]["pid"] == pid for e in journeys.ovs("recv_upcall"))


def test_restarted_during_the_collection(bridge: ovs.Bridge) -> None:
    switch, before = bridge.switch, bridge.switch.pid
    left, right = bridge.hosts[:2]
    with temporary_path() as path:
        arguments = ("-c", COLLECTORS, "-f", "icmp", "--ovs-track", "-o", path)
        with cli.background("collect", *arguments) as running:
            switch.stop_daemon()
            wait_until(lambda: "has ended" in running.output(), "the message", ovs.TIME_LIMIT)
            switch.start_daemon()
            after = switch.pid
            wait_until(lambda: "followed too" in running.output(), "the message", ovs.TIME_LIMIT)
            bridge.set_flows(*ovs.JOINED)
            switch.forget_flows()
            left.run("ping", "-c1", "-W20", right.ip4)
            result = running.stop()
        assert result.exit_code == 0, result.stderr
        journeys = sort(read(path, result))
    assert f"process {before} " in result.stderr
    assert f"process {after} " in result.stderr
    assert has_a_way_through_user_space(journeys, after)
    assert not has_a_way_through_user_space(journeys, before)
    all_is_joined(journeys)


def test_no_daemon(bridge: ovs.Bridge) -> None:
    """What the datapath does is told all the same."""
    bridge.switch.stop_daemon()
    left, right = bridge.hosts[:2]
    command = f"{left.prefix} ping -c 1 -W 2 {right.ip4}; true"
    try:
        with temporary_path() as path:
            arguments = ("-c", COLLECTORS, "-f", "icmp", "--ovs-track")
            made = collect(*arguments, path=path, cmd=command)
            assert [e for e in made.events if "ovs" in e]
            assert not [e for e in made.events if "userspace" in e]
        assert "[WARN] no process runs ovs-vswitchd" in made.result.stderr
    finally:
        bridge.switch.start_daemon()
        bridge.set_flows(*ovs.JOINED)


def test_several_daemons_one_in_a_pid_namespace(bridge: ovs.Bridge) -> None:
    first = bridge.switch.pid
    with ovs.bridge() as second:
        second.switch.stop_daemon()
        second.switch.start_daemon("unshare", "--pid", "--fork")
        second.set_flows(*ovs.JOINED)
        for each in (bridge, second):
            each.switch.forget_flows()
        command = "; ".join(ping(each, 1) for each in (bridge, second))
        with temporary_path() as path:
            arguments = ("-c", COLLECTORS, "-f", "icmp", "--ovs-track")
            journeys = sort(collect(*arguments, path=path, cmd=command))
        pids = {first, second.switch.pid}
        assert len(pids) == 2
        assert {e["userspace"]["pid"] for e in journeys.ovs("recv_upcall")} == pids
        assert {e["userspace"]["pid"] for e in journeys.ovs("flow_operation")} == pids
        assert len(list(journeys.ovs("upcall"))) == 4
    all_is_joined(journeys)
    stderr = journeys.collection.result.stderr
    assert all(f"process {pid} (" in stderr for pid in pids)
