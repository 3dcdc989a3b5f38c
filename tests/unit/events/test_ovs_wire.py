"""What the datapath's parts become: sections with their JSON and text."""

import socket
import struct
from typing import Any

import pytest

from retis_py.events.sections import ovs_wire as wire
from retis_py.events.wire import Wire

ACTIONS = {1: "output", 5: "pop_vlan", 7: "recirc", 11: "set_masked", 12: "ct", 24: "drop"}


def unpacked(part: Wire, **members: int | bytes) -> tuple[Any, ...]:
    """The part on the wire and back, members not named being zero."""
    values = [members.get(name, 0) for name in part.fields]
    for place, name in enumerate(part.fields):
        if name.endswith("_addr"):
            values[place] = members.get(name, b"")
    return struct.unpack("=" + part.format, struct.pack("=" + part.format, *values))


def test_upcall() -> None:
    section = wire.upcall_from_wire(*unpacked(wire.UPCALL_WIRE, port=4294967295, cpu=3, cmd=1))
    assert section.to_dict() == {"event_type": "upcall", "cmd": 1, "port": 4294967295, "cpu": 3}
    assert str(section) == "upcall (miss) port 4294967295 cpu 3"


@pytest.mark.parametrize("ret", [0, -11])
def test_enqueue(ret: int) -> None:
    members = unpacked(
        wire.ENQUEUE_WIRE, upcall_ts=1 << 60, upcall_cpu=2, port=7, queue_id=9, ret=ret, cmd=2
    )
    section = wire.enqueue_from_wire(*members)
    assert section.to_dict() == {
        "event_type": "upcall_enqueue",
        "ret": ret,
        "cmd": 2,
        "port": 7,
        "upcall_ts": 1 << 60,
        "upcall_cpu": 2,
        "queue_id": 9,
    }
    assert str(section) == f"upcall_enqueue (action) (2/{1 << 60}) q 9 ret {ret}"


def test_return() -> None:
    members = unpacked(wire.RETURN_WIRE, upcall_ts=5, upcall_cpu=1, ret=-105)
    section = wire.return_from_wire(*members)
    assert str(section) == "upcall_ret (1/5) ret -105"


def test_lookup() -> None:
    ufid = {f"ufid_{n}": n + 1 for n in range(4)}
    numbers = {"flow": (1 << 64) - 1, "sf_acts": 1 << 63, "n_mask_hit": 3, "n_cache_hit": 1}
    section = wire.lookup_from_wire(*unpacked(wire.LOOKUP_WIRE, **ufid, **numbers))
    shown = section.to_dict()
    assert shown["ufid"] == [1, 2, 3, 4]
    assert {name: shown[name] for name in numbers} == numbers
    assert "00000001-0000-0002-0000-000300000004" in str(section)
    assert str(wire.lookup_from_wire(*unpacked(wire.LOOKUP_WIRE, n_mask_hit=4))) == (
        "flow miss mask 4 cache 0"
    )


@pytest.mark.parametrize(
    ("action", "text", "fields"),
    [
        (1, "exec oport 66", {"action": "output", "port": 66}),
        (5, "exec pop_vlan", {"action": "pop_vlan"}),
        (7, "exec recirc 0x42", {"action": "recirc", "id": 66}),
        (11, "exec set_masked", {"action": "set_masked"}),
        (24, "exec drop 66", {"action": "drop", "reason": 66}),
    ],
)
def test_action(action: int, text: str, fields: dict[str, object]) -> None:
    build = wire.action_builder(ACTIONS)
    members = unpacked(wire.ACTION_WIRE, recirc_id=17, action=action, argument=66)
    section = build(*members)
    assert str(section) == f"[recirc_id 0x11] {text}"
    assert section.to_dict() == {"event_type": "action_execute", "recirc_id": 17, **fields}


def test_action_without_a_name() -> None:
    section = wire.action_builder(ACTIONS)(0, 99, 0)
    assert section.action == "99"
    assert str(section) == "exec unspec"


def test_ct() -> None:
    members = unpacked(wire.CT_WIRE, recirc_id=0, zone_id=65535, commit=1, force=1)
    assert str(wire.ct_from_wire(*members)) == "exec ct zone 65535 commit,force"
    assert str(wire.ct_from_wire(*unpacked(wire.CT_WIRE))) == "exec ct zone 0"


ADDRESSES, PORTS, RANDOM, PERSISTENT, FULLY_RANDOM = (1 << bit for bit in range(5))
V4, V6 = 2, 10


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "nat"),
        ({"is_source": 1}, "nat(src)"),
        ({"is_destination": 1}, "nat(dst)"),
        (
            {"is_source": 1, "range_flags": ADDRESSES, "family": V4},
            "nat(src=10.0.0.1-10.0.0.9)",
        ),
        (
            {"is_destination": 1, "range_flags": ADDRESSES | PORTS, "family": V6},
            "nat(dst=fd00::1-fd00::9:80-90)",
        ),
        ({"is_source": 1, "range_flags": PORTS | RANDOM}, "nat(src:80-90) hash"),
        (
            {"is_source": 1, "range_flags": PORTS | PERSISTENT | FULLY_RANDOM},
            "nat(src:80-90) persistent,random",
        ),
    ],
)
def test_nat(members: dict[str, int], text: str) -> None:
    family, lowest = (
        (socket.AF_INET6, "fd00::")
        if members.get("family") == V6
        else (
            socket.AF_INET,
            "10.0.0.",
        )
    )
    addresses = {
        f"{end}_addr": socket.inet_pton(family, f"{lowest}{number}")
        for end, number in (("min", 1), ("max", 9))
    }
    part = unpacked(wire.CT_NAT_WIRE, zone_id=3, min_port=80, max_port=90, **members, **addresses)
    section = wire.ct_nat_from_wire(*part)
    assert str(section) == f"exec ct zone 3 {text}"
    assert section.nat is not None
    assert (section.nat.min_addr is None) is not bool(members.get("range_flags", 0) & ADDRESSES)
    assert (section.nat.min_port is None) is not bool(members.get("range_flags", 0) & PORTS)
