"""Flows in words: what a live ovs-vswitchd says of the flows that packets hit."""

import re
import shlex
from collections.abc import Sequence

import pytest

from lab import cli, ovs
from lab.collection import Event, collect, temporary_path
from lab.journeys import of_type, sort
from lab.netns import wait_until
from lab.reference import read_alike
from retis_py.events.sections.ovs_detrace import ufid_text

pytestmark = pytest.mark.timeout(900)

COLLECTORS = "skb,skb-tracking,ovs"
REQUEST = re.compile(r"\|received request (dpctl/get-flow|ofproto/detrace|list-commands)\[")
FLOWS, FIRST_PORT, RATE = 40, 5000, 2
RULES = ("ip,in_port=1 actions=output:2", "ip,in_port=2 actions=output:1")


def steady(text: str) -> str:
    """A flow as text without what changes with each packet."""
    text = text.strip()
    return re.sub(r"\b(packets|bytes|used|duration|n_packets|n_bytes)[:=][^, ]+,? ?", "", text)


def test_rules_stand_under_the_lookup(bridge: ovs.Bridge) -> None:
    """Of all packets that hit the flow, the first of them too."""
    switch = bridge.switch
    bridge.set_flows(*RULES)
    switch.forget_flows()
    left, right = bridge.hosts[:2]
    command = f"{left.prefix} ping -c 6 -i 0.5 -W 20 {right.ip4}; sleep 2"
    with temporary_path() as path:
        arguments = ("-c", COLLECTORS, "-f", "icmp", "--ovs-enrich-flows")
        made = collect(*arguments, path=path, cmd=command)
        read_alike(path)
        journeys = sort(made)
        shown = cli.retis("sort", path).stdout

    told = {ufid_text(tuple(e["ovs-detrace"]["ufid"])): e for e in of_flows(made.events)}
    assert len(told) == len(of_flows(made.events)) == 2
    for ufid, event in told.items():
        section = event["ovs-detrace"]
        assert steady(section["dpflow"]) == steady(switch.appctl("dpctl/get-flow", f"ufid:{ufid}"))
        bridge_name, rule = section["ofpflows"]
        assert bridge_name == bridge.name
        assert any(rule.endswith(each.replace(" ", ",")) for each in RULES)
        assert steady(rule) in steady(switch.detrace(ufid))

    lookups = [e["ovs"] for series in journeys.series for e in of_type("flow_lookup", series)]
    hits = [lookup for lookup in lookups if lookup["flow"]]
    assert len(hits) == 10  # but for the first request and reply, which are upcalls
    for lookup in hits:
        section = told[ufid_text(tuple(lookup["ufid"]))]["ovs-detrace"]
        assert lookup["dpflow"] == section["dpflow"]
        assert lookup["ofpflows"] == section["ofpflows"]
    lines = r"\n +flow hit .*\n +odpflow .*\n +openflow\n +\S+\n .*actions=output:2\n"
    assert re.search(lines, shown)
    assert f"process {switch.pid} (" in made.result.stderr
    assert "2 flow(s) of Open vSwitch described" in made.result.stderr


def of_flows(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if "ovs-detrace" in event]


def test_rate_limit(bridge: ovs.Bridge) -> None:
    """Counted in the daemon's log, of more flows than can be asked for."""
    switch = bridge.switch
    left, right = bridge.hosts[:2]
    # A rule that looks at the port makes a flow for each.
    ports = range(FIRST_PORT, FIRST_PORT + FLOWS)
    rule = "priority=40000,in_port=1,udp,tp_dst={},actions=output:2"
    bridge.set_flows(*RULES, *map(rule.format, ports))
    switch.forget_flows()
    switch.appctl("vlog/set", "unixctl:file:dbg")
    script = f"for n in {' '.join(map(str, ports))}; do echo ovs > /dev/udp/{right.ip4}/$n; done"
    left.run("bash", "-c", script)
    wait_until(lambda: len(switch.datapath_flows()) >= FLOWS, "the flows", ovs.TIME_LIMIT)
    before = len(switch.daemon_log)
    with temporary_path() as path:
        arguments = ("-c", COLLECTORS, "-f", f"udp and host {right.ip4}", "--ovs-enrich-flows")
        rate = ("--ovs-enrich-rate", str(RATE))
        command = f"{left.prefix} bash -c {shlex.quote(script)}; sleep 3"
        made = collect(*arguments, *rate, path=path, cmd=command)
    log = switch.daemon_log[before:]
    bridge.set_flows(*ovs.JOINED)
    asked = [clock(line) for line in log.splitlines() if REQUEST.search(line)]
    assert len(asked) >= 4 * RATE  # the limit, and not the daemon, was what held it up
    # The log's times are of the daemon, which may come late to a request.
    assert len(asked) <= (asked[-1] - asked[0] + 1) * RATE
    assert re.search(r"flow\(s\) of Open vSwitch described; .*not asked for", made.result.stderr)


def clock(line: str) -> float:
    """The time of a line of the daemon's log, s: ``2026-11-21T10:20:30.123Z|00012|…``."""
    hours, minutes, seconds = line.partition("T")[2].partition("Z")[0].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
