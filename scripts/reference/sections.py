"""docs/sections.md: sections and fields of events, from the JSON schema (``retis schema``)."""

from typing import Any

from retis_py.events.schema import event_schema

_HEAD = """\
# Sections of events

Every section that an event may have, with types and bounds, made from the schema that
[`retis schema`](schema.md) prints. What the fields mean, and which collector makes them, is told
under [Events](events.md). A field that is not always there has `no` under "always".

"""


def page() -> str:
    """Return the whole page."""
    schema = event_schema()
    definitions = schema["$defs"]
    text, told = [_HEAD], set[str]()
    for name, section in schema["properties"].items():
        text.append(f"## {name}\n\n{section['description']}\n\n")
        kinds = [kind["$ref"] for kind in section.get("anyOf", [section])]
        for number, reference in enumerate(kinds):
            if number or len(kinds) > 1:
                text.append(f"### {_kind(definitions[_last(reference)])}\n\n")
            text += _tables(_last(reference), definitions, told, inner=False)
    return "".join(text).rstrip("\n") + "\n"


def _kind(definition: dict[str, Any]) -> str:
    (kind,) = definition["properties"]["event_type"]["enum"]
    return str(kind)


def _tables(name: str, definitions: dict[str, Any], told: set[str], inner: bool) -> list[str]:
    """Write the table of a struct, then those of structs in it that were not told yet."""
    if name in told:
        return []
    told.add(name)
    definition = definitions[name]
    if "properties" not in definition:
        return [f"**{name}**: {_type(definition)}.\n\n"] if inner else []
    parts = (
        [f"**{name}**: {_first(definition['description'])}\n\n"]
        if "description" in definition
        else []
    )
    if not definition["properties"]:
        return [*parts, "No fields.\n\n"]
    parts.append("| field | type | always |\n|---|---|---|\n")
    required = definition.get("required", [])
    for field, what in definition["properties"].items():
        parts.append(f"| `{field}` | {_type(what)} | {'yes' if field in required else 'no'} |\n")
    parts.append("\n")
    for reference in _references(definition["properties"]):
        parts += _tables(reference, definitions, told, inner=True)
    return parts


def _first(description: str) -> str:
    return " ".join(description.partition("\n\n")[0].replace("``", "`").split())


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [_last(node["$ref"])] if "$ref" in node else []
        return own + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


_BITS = {2**bits - 1: f"number of {bits} bits" for bits in (8, 16, 32, 64)}
_WORDS = {"boolean": "true or false", "string": "text"}


def _type(what: dict[str, Any]) -> str:
    if "$ref" in what:
        return _last(what["$ref"])
    if "anyOf" in what:
        return " or ".join(_type(kind) for kind in what["anyOf"])
    if "enum" in what:
        return ", ".join(f"`{value}`" for value in what["enum"])
    return _plain_type(what)


def _plain_type(what: dict[str, Any]) -> str:
    kind = what["type"]
    if kind == "integer":
        return _BITS.get(what.get("maximum", 0), "number, may be negative")
    if kind == "array":
        items = what.get("prefixItems") or [what["items"]]
        return f"list: {', '.join(_type(item) for item in items)}"
    if kind == "object":
        return f"object, each value: {_type(what['additionalProperties'])}"
    return "bytes in base64" if what.get("contentEncoding") == "base64" else _WORDS[kind]
