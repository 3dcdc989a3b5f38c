"""Parts of conntrack to the section, against a second way to take them apart."""

import ipaddress
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retis_py.errors import RetisError
from retis_py.events.event import Event, decode, encode
from retis_py.events.sections import ct_wire
from retis_py.events.sections.common import Common
from retis_py.events.sections.ct import Ct, CtConnection, CtState
from retis_py.events.sections.ct_wire import CtBuilder, CtProtocol
from retis_py.events.wire import Wire

STATES = {CtProtocol.TCP: {1: "SYN_SENT", 3: "ESTABLISHED"}, CtProtocol.SCTP: {2: "COOKIE_WAIT"}}
BUILDER = CtBuilder(STATES, has_mark=True)
INFOS = ["established", "related", "new", "reply", "related_reply"]
DIRECTIONS = ["None", "Original", "Reply", "Default"]

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))


def unpack(wire: Wire, raw: bytes) -> tuple[Any, ...]:
    return struct.unpack("=" + wire.format, raw)


@st.composite
def connections(draw: st.DrawFn) -> tuple[int, dict[str, Any]]:
    """Address size in bytes, and the members of a part."""
    size = draw(st.sampled_from([4, 16]))
    address = st.binary(min_size=size, max_size=size)
    return size, {
        "status": draw(u64),
        "mark": draw(u32),
        "zone_id": draw(u16),
        "zone_dir": draw(st.integers(0, 3)),
        "info": draw(st.integers(0, 4)),
        "protocol": draw(st.sampled_from([protocol.value for protocol in CtProtocol])),
        "proto_state": draw(st.one_of(st.sampled_from([1, 2, 3]), u8)),
        **{name: draw(u16) for name in ("orig_src", "orig_dst", "reply_src", "reply_dst")},
        **{name: draw(u32) for name in ("orig_vtag", "reply_vtag")},
        **{
            f"{way}_{end}": draw(address) for way in ("orig", "reply") for end in ("saddr", "daddr")
        },
    }


def packed(members: dict[str, Any]) -> bytes:
    """Lay members out as C does: each at a multiple of its size, the whole a multiple of 8."""
    widths = {"status": 8, "mark": 4, "zone_id": 2, "labels_lo": 8, "labels_hi": 8}
    widths |= dict.fromkeys(("zone_dir", "info", "protocol", "proto_state"), 1)
    widths |= dict.fromkeys(("orig_src", "orig_dst", "reply_src", "reply_dst"), 2)
    widths |= dict.fromkeys(("orig_vtag", "reply_vtag"), 4)
    raw = b""
    for name, value in members.items():
        if isinstance(value, bytes):
            raw += value
            continue
        width = widths[name]
        raw += bytes(-len(raw) % width) + value.to_bytes(width, "little")
    return raw + bytes(-len(raw) % 8)


def proto(members: dict[str, Any], way: str) -> dict[str, Any]:
    source, destination = members[f"{way}_src"], members[f"{way}_dst"]
    match CtProtocol(members["protocol"]):
        case CtProtocol.ICMP | CtProtocol.ICMPV6:
            high, low = destination.to_bytes(2, "big")
            return {"icmp": {"type": high, "code": low, "id": source}}
        case CtProtocol.SCTP:
            ports = {"sport": source, "dport": destination, "vtag": members[f"{way}_vtag"]}
            return {"sctp": ports}
        case protocol:
            return {protocol.name.lower(): {"sport": source, "dport": destination}}


def expected(members: dict[str, Any]) -> dict[str, Any]:
    """The connection's fields as they should stand in the file."""
    fields: dict[str, Any] = {
        "zone_id": members["zone_id"],
        "zone_dir": DIRECTIONS[members["zone_dir"]],
        "ct_status": members["status"],
        "mark": members["mark"],
    }
    for way in ("orig", "reply"):
        ends = {
            name: str(ipaddress.ip_address(members[f"{way}_{member}"]))
            for name, member in (("src", "saddr"), ("dst", "daddr"))
        }
        version = "v4" if len(members["orig_saddr"]) == 4 else "v6"
        fields[way] = {"ip": {**ends, "version": version}, "proto": proto(members, way)}
    names = STATES.get(CtProtocol(members["protocol"]))
    if names is not None:
        number = members["proto_state"]
        fields["proto_state"] = names.get(number, str(number))
    return fields


def in_file(section: Ct) -> dict[str, Any]:
    event = Event(Common(1), ct=section)
    assert decode(encode(event)) == event
    built: dict[str, Any] = event.to_dict()["ct"]
    return without_mapped(built)


def without_mapped(data: Any) -> Any:
    """inet_ntop writes ::ffff:1.2.3.4 and ::1.2.3.4; ipaddress has more than one way, too."""
    if isinstance(data, dict):
        return {
            key: str(ipaddress.ip_address(value))
            if key in ("src", "dst")
            else without_mapped(value)
            for key, value in data.items()
        }
    return data


@given(connections())
def test_section(drawn: tuple[int, dict[str, Any]]) -> None:
    size, members = drawn
    wire = ct_wire.IPV4_WIRE if size == 4 else ct_wire.IPV6_WIRE
    raw = packed(members)
    assert len(raw) == wire.size
    section = BUILDER.section(*unpack(wire, raw))
    assert in_file(section) == {**expected(members), "state": INFOS[members["info"]]}


@given(connections(), connections(), u64, u64)
def test_parent(
    own: tuple[int, dict[str, Any]], parents: tuple[int, dict[str, Any]], low: int, high: int
) -> None:
    wire = ct_wire.IPV4_WIRE if own[0] == 4 else ct_wire.IPV6_WIRE
    section = BUILDER.section(*unpack(wire, packed(own[1])))
    size, members = parents
    wire = ct_wire.PARENT_IPV4_WIRE if size == 4 else ct_wire.PARENT_IPV6_WIRE
    raw = packed({**members, "labels_lo": low, "labels_hi": high})
    assert len(raw) == wire.size
    section.parent = BUILDER.parent(*unpack(wire, raw))
    fields = expected(members)
    if low or high:
        fields["labels"] = {"hi": high, "lo": low}
    assert in_file(section)["parent"] == fields


@given(u64, u64)
def test_labels(low: int, high: int) -> None:
    labels = ct_wire.labels_from_wire(*unpack(ct_wire.LABELS_WIRE, struct.pack("=QQ", low, high)))
    assert (labels.hi, labels.lo) == (high, low)


@pytest.mark.parametrize(
    ("ethertype", "address", "version"),
    [(0x0800, "0.0.0.0", "v4"), (0x86DD, "::", "v6"), (0, "0.0.0.0", "v4")],  # noqa: S104
)
def test_untracked(ethertype: int, address: str, version: str) -> None:
    section = ct_wire.untracked_from_wire(ethertype)
    assert section.state is CtState.UNTRACKED
    for data in (section.orig, section.reply):
        assert (data.ip.src, data.ip.dst, data.ip.version) == (address, address, version)
    assert str(Event(Common(1), ct=section)) == "1\n  ct_state UNTRACKED status 0x0 "


def raw_connection(**changed: int) -> tuple[Any, ...]:
    zeroes = unpack(ct_wire.IPV4_WIRE, bytes(ct_wire.IPV4_WIRE.size))
    members = dict(zip(ct_wire.IPV4_WIRE.fields, zeroes, strict=True))
    return tuple({**members, "protocol": 17, **changed}.values())


def test_kernel_without_marks() -> None:
    section = CtBuilder(STATES, has_mark=False).section(*raw_connection(mark=7))
    assert section.mark is None
    assert BUILDER.section(*raw_connection(mark=0)).mark == 0


@pytest.mark.parametrize("info", [5, 6, 7, 255])
def test_unknown_relation(info: int) -> None:
    with pytest.raises(RetisError, match=f"unknown \\({info}\\)"):
        BUILDER.section(*raw_connection(info=info))


@pytest.mark.parametrize("protocol", [0, 2, 47, 255])
def test_unknown_protocol(protocol: int) -> None:
    with pytest.raises(RetisError, match=f"cannot hold \\({protocol}\\)"):
        BUILDER.section(*raw_connection(protocol=protocol))


@given(st.sampled_from([ct_wire.PARENT_IPV4_WIRE, ct_wire.PARENT_IPV6_WIRE]), st.data())
def test_any_bytes(wire: Wire, data: st.DataObject) -> None:
    raw = data.draw(st.binary(min_size=wire.size, max_size=wire.size))
    try:
        connection = BUILDER.parent(*unpack(wire, raw))
    except RetisError:
        return
    line = msgspec.json.encode(connection)
    assert msgspec.json.decode(line, type=CtConnection) == connection
