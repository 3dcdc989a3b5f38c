"""The schema of events, asked of an independent validator."""

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator

from interop import event_strategies
from retis_py.events import event as event_module
from retis_py.events.event import Event
from retis_py.events.schema import DIALECT, event_schema, event_schema_json

SCHEMA = event_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def as_written(raw: dict[str, Any]) -> dict[str, Any]:
    return json.loads(event_module.encode(msgspec.convert(raw, Event)))


def test_it_is_a_schema() -> None:
    assert SCHEMA["$schema"] == DIALECT == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(event_schema_json()) == SCHEMA


def test_it_names_every_section() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(Event)]
    assert list(SCHEMA["properties"]) == names
    assert SCHEMA["required"] == ["common"]
    assert all(section["description"] for section in SCHEMA["properties"].values())


def test_it_is_the_callers_own() -> None:
    event_schema()["properties"].clear()
    assert event_schema() == SCHEMA


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(event_strategies.events(event_strategies.hostile_names))
def test_what_is_written_is_accepted(raw: dict[str, Any]) -> None:
    VALIDATOR.validate(as_written(raw))


@pytest.mark.parametrize("kind", event_strategies.OVS_KINDS, ids=lambda kind: kind["event_type"])
def test_every_kind_of_ovs_event_is_accepted(kind: dict[str, Any]) -> None:
    VALIDATOR.validate(as_written({"common": {"timestamp": 1}, "ovs": kind}))


def leaves(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]
    if isinstance(node, list):
        return [leaf for i, value in enumerate(node) for leaf in leaves(value, (*path, i))]
    return [path]


LEAVES = leaves(event_strategies.FULL)


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: ".".join(map(str, path)))
def test_wrong_values_are_refused(path: tuple[str | int, ...]) -> None:
    *where, key = path
    # The section alone: the whole event takes twenty times as long.
    event = {
        "common": {"timestamp": 1},
        path[0]: copy.deepcopy(event_strategies.FULL[str(path[0])]),
    }
    VALIDATOR.validate(event)
    node: Any = event
    for step in where:
        node = node[step]
    other_type = 1 if isinstance(node[key], str) else "1"
    for wrong in (None, [], {}, 1.5, 2**64, -(2**63) - 1, other_type):
        node[key] = wrong
        assert not VALIDATOR.is_valid(event), wrong


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        {"common": {}},
        {"common": {"timestamp": 1}, "ovs": {"event_type": "made_up"}},
        {"common": {"timestamp": 1}, "netns": {}},
    ],
)
def test_other_objects_are_refused(wrong: object) -> None:
    assert not VALIDATOR.is_valid(wrong)


def test_a_tuple_has_one_protocol() -> None:
    changed = copy.deepcopy(event_strategies.FULL)
    changed["ct"]["orig"]["proto"]["udp"] = {"sport": 1, "dport": 2}
    assert not VALIDATOR.is_valid(changed)


def test_unknown_keys_are_accepted() -> None:
    """A newer retis may add some."""
    VALIDATOR.validate({"common": {"timestamp": 1, "new": 1}, "new": {}})
