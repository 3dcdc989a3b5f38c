"""``--where`` decides as a direct evaluation over the JSON of the events does."""

import json
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interop.event_strategies import FULL, OVS_KINDS, events, hostile_names, names
from interop.where_expressions import COMPARED, FIELDS, expressions
from retis_py.errors import UsageError
from retis_py.events.event import decode, encode
from retis_py.process.where import compile_where
from retis_py.process.where_fields import comparable

moderate = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
BASE = [FULL, *({"common": {"timestamp": 1}, "ovs": kind} for kind in OVS_KINDS)]


def test_all_fields_are_tried() -> None:
    assert set(COMPARED) == {field.path for field in comparable()}
    assert FIELDS["packet.data"]


@moderate
@given(st.data(), st.lists(events(st.one_of(names, hostile_names)), min_size=1, max_size=4))
def test_as_evaluated_directly(data: st.DataObject, drawn: list[dict[str, object]]) -> None:
    given_events = [*BASE, *drawn]
    typed = [decode(json.dumps(each)) for each in given_events]
    for _ in range(10):
        expression = data.draw(expressions(given_events))
        where = compile_where(expression.text)
        for plain, event in zip(given_events, typed, strict=True):
            says = expression.says(plain)
            assert where.matches(event) is says, expression.text
            assert where.matches_line(encode(event)) is says, expression.text
            assert where.matches_line(json.dumps(plain).encode()) is says, expression.text


@settings(max_examples=1, deadline=None)
@given(st.data())
def test_expressions_are_worth_it(data: st.DataObject) -> None:
    """They are true often enough, and false often enough."""
    seen: Counter[bool] = Counter()
    for _ in range(60):
        says = data.draw(expressions(BASE)).says
        seen.update(map(says, BASE))
    assert min(seen[True], seen[False]) > 40


# Text that is put together of what expressions are made of.
pieces = st.sampled_from(
    [
        *("dev", ".", "name", "==", "~", "in", "(", ")", "not", "and", "or", '"a"', "'", "1", "0x"),
        *(
            "-",
            " ",
            ",",
            "!",
            "ct.state",
            "skb-drop",
            "nft.policy",
            "true",
            "\x1b",
            "é",
            "ovs.ufid",
        ),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.lists(pieces, max_size=12).map(" ".join)))
def test_any_text_is_compiled_or_refused_in_one_line(text: str) -> None:
    try:
        where = compile_where(text)
    except UsageError as error:
        assert str(error).startswith("--where: ")
        assert "\n" not in str(error)
        assert "\x1b" not in str(error)
    else:
        for each in BASE:
            assert isinstance(where.matches(decode(json.dumps(each))), bool)
