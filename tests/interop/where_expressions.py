"""Random expressions of ``--where``, as text and as what they say of an event's JSON.

Written apart from retis_py.process: fields and their kinds are read off the JSON of events, and
trees are never parsed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from hypothesis import strategies as st

from interop.event_strategies import FULL, OVS_KINDS, Json

Says = Callable[[Json], bool]
NUMBERS = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
# What their fields hold and nothing else: other words are refused.
CLOSED = (".state", ".zone_dir", ".version", "ovs.event_type", "ovs.op_type", "policy.kind")
ABSENT = object()


@dataclass(frozen=True)
class Expression:
    """Text, what it says of an event, and how tightly its outermost operator binds."""

    text: str
    says: Says
    binding: int  # 0: or, 1: and, 2: not, 3: a comparison or parentheses


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by path, with their values; the tracking id is one."""
    if not isinstance(tree, dict):
        yield path, tree
        return
    for key, value in tree.items():
        yield from leaves(value, f"{path}.{key}" if path else key)
    if "orig_head" in tree:
        yield f"{path}.tracking_id", (tree["timestamp"] << 64) + tree["orig_head"]


def groups(tree: Json, path: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            inner = f"{path}.{key}" if path else key
            yield inner
            yield from groups(value, inner)


_protocols = {
    "tcp": {"sport": 1, "dport": 2},
    "udp": {"sport": 1, "dport": 2},
    "sctp": {"sport": 1, "dport": 2, "vtag": 3},
    "icmp": {"code": 1, "type": 2, "id": 3},
}
_nat = {"dir": "src", "min_addr": "a", "max_addr": "b", "min_port": 1, "max_port": 2}
_action = {"port": 1, "id": 2, "flags": 3, "zone_id": 4, "reason": 5, "nat": _nat}
_shapes: list[Json] = [
    FULL,
    *({"ovs": kind} for kind in OVS_KINDS),
    {"ovs": _action},
    *(
        {"ct": ct}
        for way in ("orig", "reply")
        for ct in (
            {way: {"proto": _protocols}},
            {"parent": {way: {"proto": _protocols}}},
        )
    ),
]
FIELDS = {path: value for shape in _shapes for path, value in leaves(shape)}
GROUPS = sorted({path for shape in _shapes for path in groups(shape)})
COMPARED = sorted(FIELDS.keys() - {"packet.data"})


def value_at(event: Json, path: str) -> Any:
    """What is at a path, or ABSENT."""
    at: Any = event
    for key in path.split("."):
        if key == "tracking_id" and "orig_head" in at:
            return (at["timestamp"] << 64) + at["orig_head"]
        if key not in at:
            return ABSENT
        at = at[key]
    return flow_id(at) if path.endswith(".ufid") else at


def flow_id(ufid: list[int]) -> str:
    digits = "".join(f"{part:08x}" for part in ufid)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def fits(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern of ``*`` and ``?``."""
    ends = {0}
    for char in pattern:
        if char == "*":
            ends = set(range(min(ends, default=len(text) + 1), len(text) + 1))
        else:
            ends = {end + 1 for end in ends if end < len(text) and char in ("?", text[end])}
    return len(text) in ends


def expressions(events: list[Json]) -> st.SearchStrategy[Expression]:
    """Expressions that often enough are true of these events."""
    term = st.one_of(_comparisons(events), _bare())
    return st.recursive(
        term, lambda inner: st.one_of(_joined(inner), _negated(inner)), max_leaves=8
    )


spaces = st.sampled_from((" ", "  ", "\t", "\n"))
maybe_space = st.sampled_from(("", " ", ""))


@st.composite
def _joined(draw: st.DrawFn, inner: st.SearchStrategy[Expression]) -> Expression:
    operands = draw(st.lists(inner, min_size=2, max_size=4))
    binding = draw(st.integers(0, 1))
    text = _enclosed(draw, operands[0], binding)
    for operand in operands[1:]:
        word = draw(st.sampled_from((("or", "||"), ("and", "&&"))[binding]))
        space = spaces if word.isalpha() else maybe_space
        text += draw(space) + word + draw(space) + _enclosed(draw, operand, binding)
    decide = all if binding else any
    return Expression(text, lambda event: decide(o.says(event) for o in operands), binding)


@st.composite
def _negated(draw: st.DrawFn, inner: st.SearchStrategy[Expression]) -> Expression:
    operand = draw(inner)
    word = draw(st.sampled_from(("not ", "!", "! ")))
    text = word + _enclosed(draw, operand, 2)
    return Expression(text, lambda event: not operand.says(event), 2)


def _enclosed(draw: st.DrawFn, operand: Expression, binding: int) -> str:
    if operand.binding < binding or draw(st.integers(0, 5)) == 0:
        return f"({draw(maybe_space)}{operand.text}{draw(maybe_space)})"
    return operand.text


def _spelt(draw: st.DrawFn, path: str) -> str:
    return draw(st.sampled_from((path, path.replace("-", "_"), path.replace(".", " . "))))


@st.composite
def _bare(draw: st.DrawFn) -> Expression:
    path = draw(st.sampled_from((*GROUPS, *FIELDS)))

    def says(event: Json) -> bool:
        value = value_at(event, path)
        return value is not ABSENT and value is not False

    return Expression(_spelt(draw, path), says, 3)


@st.composite
def _comparisons(draw: st.DrawFn, events: list[Json]) -> Expression:
    path = draw(st.sampled_from(COMPARED))
    seen = [v for event in events if (v := value_at(event, path)) is not ABSENT]
    example = flow_id(FIELDS[path]) if path.endswith(".ufid") else FIELDS[path]
    field = _spelt(draw, path)
    if isinstance(example, bool):
        operator = draw(st.sampled_from(("==", "!=")))
        wanted = draw(st.booleans())
        return _compared(
            path, f"{field} {operator} {str(wanted).lower()}", _ordered(operator, wanted)
        )
    if isinstance(example, int):
        return draw(_number_comparisons(path, field, [*seen, example, 0, 1]))
    if isinstance(example, list):
        return draw(_list_comparisons(path, field, [text for v in (*seen, example) for text in v]))
    return draw(_string_comparisons(path, field, [*seen, example]))


@st.composite
def _number_comparisons(draw: st.DrawFn, path: str, field: str, known: list[int]) -> Expression:
    values = st.sampled_from(known)
    if draw(st.integers(0, 3)) == 0:
        several = draw(st.lists(values, min_size=1, max_size=3))
        return _listed(draw, path, field, several, [_number(draw, path, n) for n in several])
    operator = draw(st.sampled_from(tuple(NUMBERS)))
    wanted = draw(values)
    text = f"{field}{draw(maybe_space)}{operator}{draw(maybe_space)}{_number(draw, path, wanted)}"
    return _compared(path, text, _ordered(operator, wanted))


def _number(draw: st.DrawFn, path: str, number: int) -> str:
    if number < 0:
        return str(number)
    written = [str(number), hex(number), bin(number)]
    if path.endswith("tracking_id"):
        written += [f'"#{number:x}"', f"'{number:X}'"]
    return draw(st.sampled_from(written))


@st.composite
def _string_comparisons(draw: st.DrawFn, path: str, field: str, known: list[str]) -> Expression:
    values = st.sampled_from(known).filter(_can_be_written)
    if not any(map(_can_be_written, known)):
        values = st.just("x")
    operator = draw(st.sampled_from(("==", "!=", "~", "!~", "in")))
    if operator == "in":
        several = draw(st.lists(values, min_size=1, max_size=3))
        return _listed(draw, path, field, several, [_quoted(draw, s) for s in several])
    wanted = draw(values)
    if operator in ("==", "!="):
        open_ended = not path.endswith((*CLOSED, ".ufid"))
        if open_ended and draw(st.integers(0, 3)) == 0:
            wanted = draw(st.sampled_from((wanted.upper(), wanted[:-1], "*", "lo")))
        says = _ordered(operator, wanted)
    else:
        pattern = _pattern(draw, wanted)
        text = f"{field} {operator} {_quoted(draw, pattern)}"
        negated = operator == "!~"
        return _compared(path, text, lambda value: fits(pattern, value) is not negated)
    return _compared(path, f"{field} {operator} {_quoted(draw, wanted)}", says)


@st.composite
def _list_comparisons(draw: st.DrawFn, path: str, field: str, known: list[str]) -> Expression:
    writable = [text for text in known if _can_be_written(text)]
    wanted = draw(st.sampled_from(writable))
    match draw(st.sampled_from(("==", "~", "in"))):
        case "==":
            text, says = f"{field} == {_quoted(draw, wanted)}", lambda value: wanted in value
        case "~":
            pattern = _pattern(draw, wanted)
            text = f"{field} ~ {_quoted(draw, pattern)}"
            says = lambda value: any(fits(pattern, each) for each in value)  # noqa: E731
        case _:
            text = f"{field} in ('no such', {_quoted(draw, wanted)})"
            says = lambda value: wanted in value  # noqa: E731
    return _compared(path, text, says)


def _pattern(draw: st.DrawFn, text: str) -> str:
    plain = "".join("?" if char == "[" else char for char in text)
    cut = draw(st.integers(0, len(plain)))
    parts = [f"{plain[:cut]}*", f"*{plain[cut:]}", f"*{plain[cut : cut + 2]}*"]
    others = [plain, "*", f"{plain[:cut]}?{plain[cut + 1 :]}", f"{plain}?", ""]
    return draw(st.sampled_from(parts + others))


def _can_be_written(text: str) -> bool:
    return not ('"' in text and "'" in text)


def _quoted(draw: st.DrawFn, text: str) -> str:
    return draw(st.sampled_from([f"{q}{text}{q}" for q in "\"'" if q not in text]))


def _listed(
    draw: st.DrawFn, path: str, field: str, values: list[Any], written: list[str]
) -> Expression:
    negated = draw(st.booleans())
    inside = f"{draw(maybe_space)},{draw(maybe_space)}".join(written)
    text = f"{field} {'not ' * negated}in{draw(maybe_space)}({inside})"
    return _compared(path, text, lambda value: (value in values) is not negated)


def _ordered(operator: str, wanted: Any) -> Callable[[Any], bool]:
    return lambda value: NUMBERS[operator](value, wanted)


def _compared(path: str, text: str, says: Callable[[Any], bool]) -> Expression:
    def decide(event: Json) -> bool:
        value = value_at(event, path)
        return value is not ABSENT and says(value)

    return Expression(text, decide, 3)
