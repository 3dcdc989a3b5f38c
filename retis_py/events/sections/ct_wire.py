"""Wire form of section ``ct``: what bpf/hooks/ct.c sends, and the section that is made of it.

A connection is one part, over IPv4 or over IPv6, and so is its parent, so that an event holds only
what applies. Ports are in host order. A tuple of ICMP has its id for a source port, its type and
code for a destination port (struct nf_conntrack_tuple).
"""

import socket
from collections.abc import Mapping
from copy import copy
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from retis_py.errors import RetisError
from retis_py.events.sections.ct import (
    Ct,
    CtConnection,
    CtIcmp,
    CtIp,
    CtIpVersion,
    CtLabels,
    CtPorts,
    CtProto,
    CtSctp,
    CtState,
    CtTuple,
    CtZoneDir,
)
from retis_py.events.wire import Wire

_CONNECTION = (
    "u64 status; u32 mark; u16 zone_id; u8 zone_dir; u8 info; u8 protocol; u8 proto_state;"
    " u16 orig_src; u16 orig_dst; u16 reply_src; u16 reply_dst; u32 orig_vtag; u32 reply_vtag;"
)
_IPV4, _IPV6 = (
    f" char orig_saddr[{size}]; char orig_daddr[{size}];"
    f" char reply_saddr[{size}]; char reply_daddr[{size}];"
    for size in (4, 16)
)
_LABELS = " u64 labels_lo; u64 labels_hi;"

IPV4_WIRE = Wire("ct_ipv4", _CONNECTION + _IPV4)
IPV6_WIRE = Wire("ct_ipv6", _CONNECTION + _IPV6)
LABELS_WIRE = Wire("ct_labels", _LABELS)
PARENT_IPV4_WIRE = Wire("ct_parent_ipv4", _CONNECTION + _IPV4 + _LABELS)
PARENT_IPV6_WIRE = Wire("ct_parent_ipv6", _CONNECTION + _IPV6 + _LABELS)
UNTRACKED_WIRE = Wire("ct_untracked", "u16 ethertype")


class CtProtocol(IntEnum):
    """Protocols whose connections the event file can hold: IANA's numbers."""

    ICMP = 1
    TCP = 6
    UDP = 17
    ICMPV6 = 58
    SCTP = 132


class _Raw(NamedTuple):
    """A connection's part as it is unpacked."""

    status: int
    mark: int
    zone_id: int
    zone_dir: int
    info: int
    protocol: int
    proto_state: int
    orig_src: int
    orig_dst: int
    reply_src: int
    reply_dst: int
    orig_vtag: int
    reply_vtag: int
    orig_saddr: bytes
    orig_daddr: bytes
    reply_saddr: bytes
    reply_daddr: bytes


# enum ip_conntrack_info (include/uapi/linux/netfilter/nf_conntrack_common.h), from 0 on.
_STATES = (
    CtState.ESTABLISHED,
    CtState.RELATED,
    CtState.NEW,
    CtState.REPLY,
    CtState.RELATED_REPLY,
)
# struct nf_conntrack_zone, dir: a bit each way (include/net/netfilter/nf_conntrack_zones.h).
_ZONE_DIRECTIONS = (CtZoneDir.NONE, CtZoneDir.ORIGINAL, CtZoneDir.REPLY, CtZoneDir.DEFAULT)

_IPV4_SIZE = 4
_ETHERTYPE_IPV6 = 0x86DD


class CtBuilder:
    """Makes sections of parts.

    ``proto_states`` names the states of those protocols that have some; ``has_mark`` says whether
    connections of this kernel have marks.
    """

    def __init__(
        self, proto_states: Mapping[CtProtocol, Mapping[int, str]], has_mark: bool
    ) -> None:
        self._proto_states = {int(number): names for number, names in proto_states.items()}
        self._has_mark = has_mark
        # The same few connections come up again and again.
        self._known_section = lru_cache(maxsize=1024)(self._section)
        self._known_parent = lru_cache(maxsize=1024)(self._parent)

    def section(self, *values: Any) -> Ct:
        """Build the section from ``IPV4_WIRE`` or ``IPV6_WIRE``."""
        # A copy, since other parts are put into it.
        return copy(self._known_section(values))

    def parent(self, *values: Any) -> CtConnection:
        """Build the field from ``PARENT_IPV4_WIRE`` or ``PARENT_IPV6_WIRE``."""
        return self._known_parent(values)

    def _section(self, values: tuple[Any, ...]) -> Ct:
        raw = _Raw(*values)
        if raw.info >= len(_STATES):
            raise RetisError(f"a packet whose relation to its connection is unknown ({raw.info})")
        return Ct(**self._fields(raw), state=_STATES[raw.info])

    def _parent(self, values: tuple[Any, ...]) -> CtConnection:
        *connection, low, high = values
        labels = labels_from_wire(low, high) if low or high else None
        return CtConnection(**self._fields(_Raw(*connection)), labels=labels)

    def _fields(self, raw: _Raw) -> dict[str, Any]:
        orig = (raw.orig_saddr, raw.orig_daddr), (raw.orig_src, raw.orig_dst), raw.orig_vtag
        reply = (raw.reply_saddr, raw.reply_daddr), (raw.reply_src, raw.reply_dst), raw.reply_vtag
        states = self._proto_states.get(raw.protocol)
        return {
            "zone_id": raw.zone_id,
            "zone_dir": _ZONE_DIRECTIONS[raw.zone_dir & 3],
            "orig": _tuple(raw.protocol, *orig),
            "reply": _tuple(raw.protocol, *reply),
            "ct_status": raw.status,
            # A state that the kernel does not name is given as its number.
            "proto_state": (
                None if states is None else states.get(raw.proto_state, str(raw.proto_state))
            ),
            "mark": raw.mark if self._has_mark else None,
        }


def _tuple(
    protocol: int, addresses: tuple[bytes, bytes], ends: tuple[int, int], vtag: int
) -> CtTuple:
    if len(addresses[0]) == _IPV4_SIZE:
        family, version = socket.AF_INET, CtIpVersion.V4
    else:
        family, version = socket.AF_INET6, CtIpVersion.V6
    source, destination = (socket.inet_ntop(family, address) for address in addresses)
    return CtTuple(CtIp(source, destination, version), _proto(protocol, ends, vtag))


def _proto(protocol: int, ends: tuple[int, int], vtag: int) -> CtProto:
    source, destination = ends
    match protocol:
        case CtProtocol.TCP:
            return CtProto(tcp=CtPorts(source, destination))
        case CtProtocol.UDP:
            return CtProto(udp=CtPorts(source, destination))
        case CtProtocol.ICMP | CtProtocol.ICMPV6:
            return CtProto(icmp=CtIcmp(destination & 0xFF, destination >> 8, source))
        case CtProtocol.SCTP:
            return CtProto(sctp=CtSctp(source, destination, vtag))
    raise RetisError(f"a connection of a protocol that the event file cannot hold ({protocol})")


def labels_from_wire(low: int, high: int) -> CtLabels:
    """Build the field from ``LABELS_WIRE``: label N is bit N of the two together."""
    return CtLabels(hi=high, lo=low)


def untracked_from_wire(ethertype: int) -> Ct:
    """Build the section of a packet that is marked as not to be tracked.

    Such a packet has no connection, and the event file knows no section without one. So its
    fields are zeroes, its zone is in no direction, and its tuples have no protocol in common.
    """
    if ethertype == _ETHERTYPE_IPV6:
        ip = CtIp("::", "::", CtIpVersion.V6)
    else:
        ip = CtIp("0.0.0.0", "0.0.0.0", CtIpVersion.V4)  # noqa: S104 (no address to bind to)
    return Ct(
        zone_id=0,
        zone_dir=CtZoneDir.NONE,
        orig=CtTuple(ip, CtProto(tcp=CtPorts(0, 0))),
        reply=CtTuple(ip, CtProto(udp=CtPorts(0, 0))),
        ct_status=0,
        state=CtState.UNTRACKED,
    )
