"""Text made from the lines of a file, part by part, is that of the events they hold.

The typed text is compared with the reference's in test_events.py and test_event_corpus.py; here
each way of getting it from a line is compared with the typed one, byte for byte.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interop.event_mixing import mixed
from interop.event_strategies import FULL, Json, events, hostile_names, names
from interop.packet_strategies import repeatable
from retis_py.events.compat import CURRENT
from retis_py.events.event import decode, encode
from retis_py.events.lines import LineFormat
from retis_py.events.text import TextFormat, series_text
from retis_py.process.line_text import LineText

FORMATS = [
    TextFormat(
        multi_line=multi, utc=utc, link_layer=link_layer, clock_offset=10**18, colour=colour
    )
    for multi, utc, link_layer, colour in product((True, False), repeat=4)
]
STARTUP: Json = {"common": {"timestamp": 1}, "startup": FULL["startup"]}
# What ends a part too early for whoever looks for braces and quotes.
TRAPS = ('"', "}", "{", '},"', '"}', "\\", '\\"', "]", '},{"common":{', '","probe_type":"', "\n", "é")
traps = st.lists(st.sampled_from(TRAPS) | st.text(max_size=2), max_size=4).map("".join)
strings = names | hostile_names | traps

Spell = Callable[[Json], bytes]
batches = settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


def compact(event: Any) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def shuffled(value: Any, random: Random) -> Any:
    """The same objects with their keys in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(each, random)) for key, each in value.items()]
        random.shuffle(items)
        return dict(items)
    return value


def with_unknown(value: Any, random: Random) -> Any:
    """The same objects with keys of a later release, at any place; in tuples one protocol."""
    if not isinstance(value, dict):
        return value
    items = [
        (key, each if key == "proto" else with_unknown(each, random)) for key, each in value.items()
    ]
    if random.random() < 0.3:
        new = random.choice((1, None, "}", [{}], {"common": {"timestamp": 3}}, [], {}, ["a"]))
        key = random.choice(("new", "kernel-2", "}", "stack_trace"))
        if key not in value and "probe_type" not in value:
            items.insert(random.randint(0, len(items)), (key, new))
    return dict(items)


def with_twice(event: Json, random: Random) -> bytes:
    """A section twice: the last counts."""
    name = random.choice(list(event))
    other = FULL[name]
    pieces = [compact({key: each})[1:-1] for key, each in event.items()]
    pieces.insert(random.randint(0, len(pieces)), compact({name: other})[1:-1])
    return b"{" + b",".join(pieces) + b"}"


SPELLINGS: dict[str, Callable[[Json, Random], bytes]] = {
    "ours": lambda event, _: encode(decode(compact(event))),
    "compact": lambda event, _: compact(event),
    "ascii": lambda event, _: json.dumps(event, separators=(",", ":")).encode(),
    "spaced": lambda event, _: json.dumps(event).encode(),
    "shuffled": lambda event, random: compact(shuffled(event, random)),
    "unknown": lambda event, random: compact(with_unknown(event, random)),
    "twice": with_twice,
}


def series_of(events: Iterable[bytes], random: Random) -> Iterator[bytes]:
    """Lines of a sorted file."""
    series: list[bytes] = []
    for event in events:
        series.append(event)
        if random.random() < 0.4:
            yield b"[" + b",".join(series) + b"]"
            series.clear()
    if series:
        yield b"[" + b",".join(series) + b"]"


def typed_texts(lines: LineFormat, content: Sequence[bytes], fmt: TextFormat) -> list[bytes]:
    end = "\n\n" if fmt.multi_line else "\n"
    return [(series_text(lines.events(line), fmt) + end).encode() for line in content]


def assert_same_text(
    lines: LineFormat, content: Sequence[bytes], fmt: TextFormat, random: Random
) -> None:
    """Compare piece by piece, of one line mostly: what is odd in one changes how all are read."""
    job = LineText(lines, fmt)
    typed = typed_texts(lines, content, fmt)
    start = 0
    while start < len(content):
        end = start + random.choice((1, 1, 1, 2, 30))
        piece = content[start:end]
        done = job(b"".join(line + b"\n" for line in piece))
        assert done.result == b"".join(typed[start:end]), piece
        assert (done.lines, done.damages) == (len(piece), ())
        start = end


def test_all_names_of_formats() -> None:
    """A new part of the format has its place in FORMATS."""
    assert len(set(FORMATS)) == 16
    assert len(TextFormat.__dataclass_fields__) == 5


@pytest.mark.parametrize("spelling", SPELLINGS)
@batches
@given(drawn=st.lists(events(strings), min_size=3, max_size=8), seed=st.integers(0, 2**32))
def test_every_spelling(spelling: str, drawn: list[Json], seed: int) -> None:
    random = repeatable(seed)
    lines = [SPELLINGS[spelling](event, random) for event in mixed(drawn, random, 100)]
    series = list(series_of(lines, random))
    for fmt in random.sample(FORMATS, 3):
        assert_same_text(LineFormat(CURRENT, sorted=False), lines, fmt, random)
        assert_same_text(LineFormat(CURRENT, sorted=True), series, fmt, random)
