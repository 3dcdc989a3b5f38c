"""What conntrack knows of packets, over IPv4 and IPv6, protocol by protocol.

Two hosts, both of which track connections. Rules on the left one set zones, marks and labels, give
FTP its helper, and leave one port untracked.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from lab import capabilities, cli, conntrack, flows, frames, netns
from lab.collection import (
    Collection,
    Event,
    namespace_number,
    packet_bytes,
    read,
    sender,
    temporary_path,
)
from lab.conntrack import CONFIRMED, EXPECTED, Flow
from lab.mounts import retis_after
from retis_py.events.jsonl import EventFile

pytestmark = pytest.mark.timeout(400)

ECHO, FTP = 4020, 21  # TCP ports
UNTRACKED, ZONE, ORIG_ZONE, MARKED, CLOSED = 4021, 4022, 4023, 4024, 4025  # UDP
MARK, LABELS = 0xC0FFEE, (3, 70, 127)
SCTP, SCTP_PORTS = 132, (4027, 4028)
EXPERIMENTAL = 253  # a protocol (RFC 3692)
CLIENT_TAG, SERVER_TAG = 0xDEADBEEF, 0x12345678

TRANSMIT, RECEIVE = "net:net_dev_start_xmit", "net:netif_receive_skb"

RULES = f"""
table inet tracking {{
    ct helper standard {{
        type "ftp" protocol tcp
    }}
    chain before {{
        type filter hook output priority raw
        udp dport {UNTRACKED} notrack
        udp dport {ZONE} ct zone set 7
        udp dport {ORIG_ZONE} ct original zone set 8
    }}
    chain behind {{
        type filter hook output priority filter
        tcp dport {FTP} ct helper set "standard"
        udp dport {MARKED} ct mark set {MARK}
        udp dport {MARKED} ct label set {LABELS[0]}
        udp dport {MARKED} ct label set {LABELS[1]}
        udp dport {MARKED} ct label set {LABELS[2]}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Side:
    """A host, what happened there, and its connections at the end."""

    host: netns.Host
    events: list[Event]
    flows: list[Flow]

    def sent(self, protocol: str, destination: tuple[str, int]) -> list[Event]:
        """The events of connections to an address and port, at its way out."""
        return [
            event
            for event in conntrack.of_protocol(self.events, protocol)
            if event["kernel"]["symbol"] == TRANSMIT
            and event["ct"]["orig"]["ip"]["dst"] == destination[0]
            and event["ct"]["orig"]["proto"][protocol]["dport"] == destination[1]
        ]


@dataclass(frozen=True, slots=True)
class Observed:
    left: Side
    right: Side
    collection: Collection


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    capabilities.require("root")
    capabilities.require("btf")
    with netns.pair(ipv6=True) as link, temporary_path() as path, ExitStack() as stack:
        left, right = link.left, link.right
        for host, rules in ((left, RULES), (right, conntrack.TRACKING)):
            netns.run(host.ns, f"nft -f - <<'END'\n{rules}\nEND")
            # Chunks of SCTP are made here without its checksum.
            host.run("sysctl", "-qw", "net.netfilter.nf_conntrack_checksum=0")
            conntrack.keep_connections(host.ns)
        for host, command in ((right, "ftp-server"), (right, "echo"), (left, "echo")):
            port = FTP if command == "ftp-server" else ECHO
            stack.enter_context(host.background(*flows.words(command, port)))
            host.wait_for_port(port)
        probes = [word for name in (TRANSMIT, RECEIVE) for word in ("-p", f"tp:{name}")]
        running = stack.enter_context(
            cli.background("collect", "-c", "skb,dev,ns,ct", *probes, "-o", path)
        )
        for command in packets(link):
            subprocess.run(["sh", "-c", command], check=True, capture_output=True)
        for words in (("ftp-client", right.ip4, FTP), ("talk", right.ip6, ECHO)):
            stack.enter_context(left.background(*flows.words(*words)))
        stack.enter_context(left.background(*flows.words("talk", "127.0.0.1", ECHO)))
        netns.wait_until(lambda: are_talking(left), "data each way on three TCP connections")
        listed = [conntrack.flows(host.ns) for host in (left, right)]
        made = read(path, running.stop())
        sides = [
            Side(host, list(made.within(namespace_number(host)).events), found)
            for host, found in zip((left, right), listed, strict=True)
        ]
        yield Observed(*sides, made)


def packets(link: netns.Pair) -> list[str]:
    """Shell commands that send what needs no answer, or gets it at once."""
    left, right = link.left, link.right
    client, server = SCTP_PORTS
    ports = (UNTRACKED, ZONE, ORIG_ZONE, MARKED, CLOSED)
    return [
        f"{left.prefix} ping -n -q -c1 -W20 {right.ip6}",
        *(
            sender(left, "udp", address, port, 10)
            for port in ports
            for address in (right.ip4, right.ip6)
        ),
        flows.in_namespace(left, "raw", right.ip4, EXPERIMENTAL),
        flows.in_namespace(left, "sctp-init", right.ip4, client, server, CLIENT_TAG),
        flows.in_namespace(
            right, "sctp-init-ack", left.ip4, server, client, CLIENT_TAG, SERVER_TAG
        ),
    ]


def are_talking(host: netns.Host) -> bool:
    """Whether what was sent is back: at three clients and, on lo, at the server before."""
    shown = host.run("ss", "-Hnti").stdout
    return shown.count("bytes_received:9 ") == 4


@pytest.mark.parametrize("side", ["left", "right"])
def test_last_events_say_what_conntrack_says(observed: Observed, side: str) -> None:
    here: Side = getattr(observed, side)
    last = {}
    for event in here.events:
        if "ct" in event and event["ct"]["state"] != "untracked":
            flow = conntrack.flow(event["ct"])
            last[identity(flow)] = flow
    # What is answered on the other side is known here before the answer reaches a probe.
    skipped = ("icmp", "sctp") if side == "left" else ()
    listed = [flow for flow in here.flows if flow.protocol not in skipped]
    listed = [flow for flow in listed if flow.protocol != "unknown"]
    assert len(listed) >= 10
    for flow in listed:
        assert last[identity(flow)] == flow


def identity(flow: Flow) -> str:
    return f"{flow.protocol} {sorted(flow.orig.items())} {flow.zone}"


def test_icmpv6(observed: Observed) -> None:
    left, right = observed.left, observed.right
    [request] = [e for e in conntrack.of_protocol(left.events, "icmp") if is_echo(e)]
    [reply] = [e for e in conntrack.of_protocol(right.events, "icmp") if is_echo(e)]
    assert (request["ct"]["state"], reply["ct"]["state"]) == ("new", "reply")
    identifier = int.from_bytes(frames.parse(packet_bytes(request)).payload[4:6], "big")
    for event in (request, reply):
        orig, back = event["ct"]["orig"], event["ct"]["reply"]
        assert orig["ip"] == {"src": left.host.ip6, "dst": right.host.ip6, "version": "v6"}
        assert back["ip"] == {"src": right.host.ip6, "dst": left.host.ip6, "version": "v6"}
        assert orig["proto"]["icmp"] == {"type": 128, "code": 0, "id": identifier}
        assert back["proto"]["icmp"] == {"type": 129, "code": 0, "id": identifier}


def is_echo(event: Event) -> bool:
    return event["ct"]["orig"]["proto"]["icmp"]["type"] == 128


def test_sctp(observed: Observed) -> None:
    client, server = SCTP_PORTS
    # No kernel here has SCTP: each end says so in an ICMP error beside.
    [init], [answer] = (
        [
            event
            for event in side.sent("sctp", (observed.right.host.ip4, server))
            if frames.parse(packet_bytes(event)).protocol == SCTP
        ]
        for side in (observed.left, observed.right)
    )
    assert (init["ct"]["state"], answer["ct"]["state"]) == ("new", "reply")
    assert (init["ct"]["proto_state"], answer["ct"]["proto_state"]) == ("CLOSED", "COOKIE_WAIT")
    orig, reply = (answer["ct"][key]["proto"]["sctp"] for key in ("orig", "reply"))
    # The tag that packets of a direction carry is the one that its receiver chose.
    assert orig == {"sport": client, "dport": server, "vtag": SERVER_TAG}
    assert reply == {"sport": server, "dport": client, "vtag": CLIENT_TAG}


@pytest.mark.parametrize("version", ["ip4", "ip6"])
def test_zones(observed: Observed, version: str) -> None:
    address = getattr(observed.right.host, version)
    for port, zone in ((ZONE, ("Default", 7)), (ORIG_ZONE, ("Original", 8))):
        [event] = observed.left.sent("udp", (address, port))
        assert (event["ct"]["zone_dir"], event["ct"]["zone_id"]) == zone
    [event] = observed.left.sent("udp", (address, CLOSED))
    assert (event["ct"]["zone_dir"], event["ct"]["zone_id"]) == ("Default", 0)


@pytest.mark.parametrize("version", ["ip4", "ip6"])
def test_mark_and_labels(observed: Observed, version: str) -> None:
    address = getattr(observed.right.host, version)
    [event] = observed.left.sent("udp", (address, MARKED))
    assert event["ct"]["mark"] == MARK
    labels = event["ct"]["labels"]
    assert labels["hi"] << 64 | labels["lo"] == sum(1 << label for label in LABELS)
    [event] = observed.left.sent("udp", (address, CLOSED))
    assert event["ct"]["mark"] == 0
    assert "labels" not in event["ct"]


def test_icmp_error_is_related(observed: Observed) -> None:
    """It belongs to the connection of the packet that it is about."""
    address = observed.right.host.ip4
    [error] = observed.right.sent("udp", (address, CLOSED))
    assert frames.parse(packet_bytes(error)).protocol == frames.ICMP
    assert error["ct"]["state"] == "related_reply"
    assert "parent" not in error["ct"]


def test_ftp_data_connection_has_its_control_connection_as_parent(observed: Observed) -> None:
    left, address = observed.left, observed.right.host.ip4
    control = left.sent("tcp", (address, FTP))
    children = [e for e in left.events if "parent" in e.get("ct", {})]
    assert [e["ct"]["state"] for e in children[:2]] == ["related", "established"]
    assert children[0]["ct"]["proto_state"] == "SYN_SENT"
    [listed] = [flow for flow in left.flows if flow.orig.get("dport") == str(FTP)]
    for event in children:
        assert event["ct"]["ct_status"] & EXPECTED
        parent = event["ct"]["parent"]
        assert conntrack.flow(parent) == conntrack.flow(control[-1]["ct"]) == listed
        assert event["ct"]["orig"]["ip"] == parent["orig"]["ip"]
    assert not any("parent" in event["ct"] for event in control)


@pytest.mark.parametrize("version", ["ip4", "ip6"])
def test_untracked(observed: Observed, version: str) -> None:
    """The rule says so on the left; on the right it is tracked as any other."""
    address = getattr(observed.right.host, version)
    untracked = [
        event
        for event in observed.left.events
        if event.get("ct", {}).get("state") == "untracked"
        and frames.parse(packet_bytes(event)).destination == address
    ]
    [event] = untracked
    assert frames.parse(packet_bytes(event)).ports[1] == UNTRACKED
    nowhere = {"ip4": ("0.0.0.0", "v4"), "ip6": ("::", "v6")}[version]  # noqa: S104
    for key in ("orig", "reply"):
        ip = event["ct"][key]["ip"]
        assert (ip["src"], ip["dst"], ip["version"]) == (nowhere[0], *nowhere)
    assert event["ct"]["zone_dir"] == "None"
    assert event["ct"]["ct_status"] == 0
    assert not {"mark", "labels", "parent", "proto_state"} & event["ct"].keys()
    assert observed.right.sent("udp", (address, UNTRACKED))


def test_other_protocols_have_no_section(observed: Observed) -> None:
    """The event file has no room for them, though they are tracked."""
    events = [
        event
        for event in observed.left.events
        if event["packet"]["len"] >= 34
        and packet_bytes(event)[12:14] == b"\x08\x00"
        and frames.parse(packet_bytes(event)).protocol == EXPERIMENTAL
    ]
    assert events
    assert not any("ct" in event for event in events)
    assert any(flow.protocol == "unknown" for flow in observed.left.flows)


def test_directions_on_one_host(observed: Observed) -> None:
    """On lo a packet keeps its connection, so that both ways are seen where they are received."""
    events = [
        event
        for event in conntrack.of_protocol(observed.left.events, "tcp")
        if event["kernel"]["symbol"] == RECEIVE and event["dev"]["name"] == "lo"
    ]
    states = [event["ct"]["state"] for event in events]
    assert states[:3] == ["new", "reply", "established"]
    for event in events:
        frame = frames.parse(packet_bytes(event))
        key = "reply" if event["ct"]["state"] == "reply" else "orig"
        ports = event["ct"][key]["proto"]["tcp"]
        assert frame.ports == (ports["sport"], ports["dport"])
    assert {"established", "reply"} <= set(states[3:])


def test_confirmed_from_the_way_out_on(observed: Observed) -> None:
    """At the device each connection is in conntrack's table."""
    events = [e for e in observed.left.events if e.get("ct", {}).get("state") != "untracked"]
    tracked = [event for event in events if "ct" in event]
    assert len(tracked) > 20
    assert all(event["ct"]["ct_status"] & CONFIRMED for event in tracked)


def test_reference_reads_and_shows_the_same(observed: Observed) -> None:
    retis = pytest.importorskip("retis")
    path = observed.collection.path
    theirs = list(retis.EventFile(str(path)).events())
    with EventFile(path) as file:
        ours = list(file.events())
    assert [event.to_dict() for event in ours] == [event.to_dict() for event in theirs]
    assert [str(event) for event in ours] == [str(event) for event in theirs]
    texts = "\n".join(str(event) for event in ours)
    for part in ("ct_state NEW", "UNTRACKED", "RELATED_REPLY", "\\ parent [", "vtag 0x12345678"):
        assert part in texts


# Where it cannot run


def without_module(*arguments: str) -> cli.Result:
    """Collect where no module is loaded, as far as anybody can tell."""
    return retis_after("mount --bind /dev/null /proc/modules", "collect", *arguments)


def test_named_without_the_module(root: None, btf: None, modules: None) -> None:
    result = without_module("-c", "skb,ct", "-p", f"tp:{RECEIVE}", "--cmd", "true")
    [line] = [line for line in result.stderr.splitlines() if "[INFO]" not in line]
    assert line.startswith("Error: collector ct: the module nf_conntrack is not loaded")
    assert "modprobe nf_conntrack" in line
    assert result.exit_code == 1


def test_auto_without_the_module(root: None, btf: None, modules: None) -> None:
    result = without_module("-p", f"tp:{RECEIVE}", "--print-bpf")
    assert result.exit_code == 0
    assert "hook_dev" in result.stdout
    assert "hook_ct" not in result.stdout
