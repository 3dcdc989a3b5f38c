import json

import msgspec
import pytest

from interop.event_strategies import FULL
from retis_py.events.event import Event, decode, decode_series, encode, encode_into
from retis_py.events.sections.common import Common
from retis_py.events.sections.dev import Dev

# Found out by giving the reference arrays, whose elements it takes for fields by position.
REFERENCE_ORDER = [
    "common",
    "kernel",
    "userspace",
    "tracking",
    "skb-tracking",
    "skb-drop",
    "packet",
    "skb",
    "netns",
    "dev",
    "ovs",
    "ovs-detrace",
    "nft",
    "ct",
    "startup",
]


def test_sections_come_in_the_order_of_the_reference() -> None:
    event = decode(json.dumps(FULL))
    assert list(json.loads(encode(event))) == REFERENCE_ORDER
    assert list(event.to_dict()) == REFERENCE_ORDER


def test_everything_comes_back() -> None:
    event = decode(json.dumps(FULL))
    assert json.loads(encode(event)) == event.to_dict() == FULL
    assert decode(encode(event)) == event
    assert decode_series(encode([event, event])) == [event, event]


def test_absent_is_left_out_and_false_is_not() -> None:
    event = Event(Common(0, smp_id=0), dev=Dev("", 0))
    assert encode(event) == (b'{"common":{"timestamp":0,"smp_id":0},"dev":{"name":"","ifindex":0}}')
    buffer = bytearray(b"x")
    encode_into(event, buffer, -1)
    assert buffer == b"x" + encode(event)


@pytest.mark.parametrize(
    "ovs",
    [
        {"action": "psample"},
        {"action": "output"},
        {"action": "drop", "port": 3},
        {"action": "ct", "flags": 0, "zone_id": 1, "nat": {"dir": "sideways"}},
    ],
)
def test_unknown_ovs_actions_are_passed_on_but_not_shown(ovs: dict[str, object]) -> None:
    """So that a sorted file keeps what a newer retis wrote."""
    raw = {"event_type": "action_execute", "recirc_id": 0, "queue_id": 5}
    event = decode(json.dumps({"common": {"timestamp": 1}, "ovs": raw | ovs}))
    assert json.loads(encode(event))["ovs"] == raw | ovs
    assert event.to_dict()["ovs"] == raw
    assert str(event) == "1\n  exec unspec q 5"


def test_fields_of_other_actions_are_not_shown() -> None:
    raw = {"event_type": "action_execute", "recirc_id": 0, "action": "set", "port": 5}
    event = decode(json.dumps({"common": {"timestamp": 1}, "ovs": raw}))
    assert event.to_dict()["ovs"] == {key: raw[key] for key in raw if key != "port"}


def test_a_tuple_has_one_protocol() -> None:
    event = json.loads(json.dumps(FULL))
    event["ct"]["orig"]["proto"]["udp"] = {"sport": 1, "dport": 2}
    with pytest.raises(msgspec.ValidationError, match="one protocol"):
        decode(json.dumps(event))


def test_events_have_a_json_schema() -> None:
    schema = msgspec.json.schema(Event)
    assert set(schema["$defs"]["Event"]["properties"]) == set(REFERENCE_ORDER)
    assert schema["$defs"]["Event"]["required"] == ["common"]
