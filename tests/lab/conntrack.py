"""The kernel's connections as ``conntrack -L -o extended`` prints them, and those in events."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab import modules, netns
from lab.collection import Event
from lab.emulation import EMULATED

# enum ip_conntrack_status (include/uapi/linux/netfilter/nf_conntrack_common.h)
EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED = 1 << 0, 1 << 1, 1 << 2, 1 << 3
SRC_NAT, DST_NAT = 1 << 4, 1 << 5

_TUPLE = ("src", "dst", "sport", "dport", "type", "code", "id")
# What conntrack calls them, and the events.
_PROTOCOLS = {"icmpv6": "icmp"}

Tuple = dict[str, str]

TRACKING = """
table inet tracking {
    chain inbound {
        type filter hook input priority filter
        ct state invalid drop
    }
}
"""
"""A ruleset that has connections tracked."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection; ``orig`` and ``reply`` hold addresses, ports or ICMP fields as text."""

    protocol: str
    state: str | None
    orig: Tuple
    reply: Tuple
    mark: int
    zone: tuple[str, int]  # direction as in events, number
    replied: bool
    assured: bool


def only_where_asked() -> None:
    """Have connections tracked only in namespaces whose rules want it.

    In Linux 6.1 all are as soon as openvswitch is loaded, which earlier tests leave in a guest.
    """
    if EMULATED:
        assert modules.unload("openvswitch")


def keep_connections(ns: str) -> None:
    """Let connections stay for ten minutes without a packet, for machines that are slow.

    The namespace must track connections already.
    """
    names = ("udp", "icmp", "icmpv6", "sctp_timeout_closed", "sctp_timeout_cookie_wait")
    settings = [f"nf_conntrack_{n}{'' if 'timeout' in n else '_timeout'}=600" for n in names]
    netns.run(ns, ["sysctl", "-qw", *(f"net.netfilter.{setting}" for setting in settings)])


def flows(ns: str) -> list[Flow]:
    """List the connections of a namespace, IPv4 and IPv6."""
    shown = netns.run(ns, ["conntrack", "-L", "-o", "extended"]).stdout
    return [_parse(line) for line in shown.splitlines()]


_LINE = re.compile(r"ipv[46] +\d+ (?P<protocol>\w+) +\d+ \d+ (?:(?P<state>[A-Z_0-9]+) )?")


def _parse(line: str) -> Flow:
    head = _LINE.match(line)
    assert head, line
    pairs = re.findall(r"([\w-]+)=(\S+)", line)
    tuples = [(key, value) for key, value in pairs if key in _TUPLE]
    others = {key: value for key, value in pairs if key not in _TUPLE}
    half = len(tuples) // 2
    return Flow(
        protocol=_PROTOCOLS.get(head["protocol"], head["protocol"]),
        state=head["state"],
        orig=dict(tuples[:half]),
        reply=dict(tuples[half:]),
        mark=int(others.get("mark", "0")),
        zone=_zone(others),
        replied="[UNREPLIED]" not in line,
        assured="[ASSURED]" in line,
    )


def _zone(others: dict[str, str]) -> tuple[str, int]:
    for name, direction in (("zone-orig", "Original"), ("zone-reply", "Reply")):
        if name in others:
            return direction, int(others[name])
    return "Default", int(others.get("zone", "0"))


def flow(connection: dict[str, Any]) -> Flow:
    """The same of an event's section ``ct``, or of its parent."""
    [protocol] = connection["orig"]["proto"]
    status = connection["ct_status"]
    return Flow(
        protocol=protocol,
        state=connection.get("proto_state"),
        orig=_tuple(connection["orig"], protocol),
        reply=_tuple(connection["reply"], protocol),
        mark=connection["mark"],
        zone=(connection["zone_dir"], connection["zone_id"]),
        replied=bool(status & SEEN_REPLY),
        assured=bool(status & ASSURED),
    )


def _tuple(data: dict[str, Any], protocol: str) -> Tuple:
    ends = {key: str(value) for key, value in data["proto"][protocol].items() if key != "vtag"}
    return {"src": data["ip"]["src"], "dst": data["ip"]["dst"], **ends}


def of_protocol(events: Iterable[Event], protocol: str) -> list[Event]:
    """Events of packets that belong to a connection of that protocol."""
    return [e for e in events if protocol in e.get("ct", {}).get("orig", {}).get("proto", {})]
