"""The JSON schema of an event, for those who validate or generate code: JSON Schema 2020-12.

It describes what is written. Reading takes more: older files, unknown keys, null for what is
absent.
"""

from typing import Any

import msgspec

from retis_py.events.event import Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TITLE = "Retis event"
_DESCRIPTION = (
    "One event: a line of an event file, or an element of a line of a sorted file. Each property"
    " is a section; only 'common' is in every event. What is absent is left out, never null."
)
_SECTIONS = {
    "common": "When and where the event happened.",
    "kernel": "The kernel probe that was hit.",
    "userspace": "The user space (USDT) probe that was hit.",
    "tracking": "The series that the event belongs to and its place in it; in sorted files only.",
    "skb-tracking": "Identity of the packet; its id is timestamp * 2^64 + orig_head.",
    "skb-drop": "Why the packet was dropped.",
    "packet": "The packet's first bytes, from the link-layer header on.",
    "skb": "Metadata of the socket buffer.",
    "netns": "The network namespace.",
    "dev": "The network device.",
    "ovs": "What Open vSwitch did; 'event_type' tells which.",
    "ovs-detrace": "The OpenFlow flows behind a flow of the data path.",
    "nft": "A step of the evaluation of nftables rules.",
    "ct": "Connection tracking.",
    "startup": "The collection itself; in the first event of each file.",
}
_MAX_U64 = 2**64 - 1


def event_schema() -> dict[str, Any]:
    """Return the schema as built-in types; a new one each time, to be changed at will."""
    schema = msgspec.json.schema(Event)
    definitions: dict[str, Any] = _as_written(schema["$defs"])
    event = definitions.pop("Event")
    # The class's own description speaks to programmers.
    event.pop("description", None)
    for name, section in event["properties"].items():
        section["description"] = _SECTIONS[name]
    # 2^64 - 1 is beyond what msgspec can state, and one protocol a rule that it does not know.
    definitions["CtProto"]["maxProperties"] = 1
    return {
        "$schema": DIALECT,
        **event,
        "title": _TITLE,
        "description": _DESCRIPTION,
        "$defs": dict(sorted(definitions.items())),
    }


def event_schema_json() -> bytes:
    """Return the schema as JSON without white space, in UTF-8."""
    return msgspec.json.encode(event_schema())


def _as_written(node: Any) -> Any:
    """Return a schema's tree without the nulls that reading allows, and with the bounds of u64."""
    if isinstance(node, list):
        return [_as_written(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _as_written(value) for key, value in node.items()}
    if node.get("type") == "integer" and node.get("minimum") == 0:
        node.setdefault("maximum", _MAX_U64)
    if {"type": "null"} in node.get("anyOf", ()):
        # What msgspec makes of `X | None = None`.
        node["anyOf"].remove({"type": "null"})
        node.pop("default", None)
        if len(node["anyOf"]) == 1:
            node |= node.pop("anyOf")[0]
    return node
