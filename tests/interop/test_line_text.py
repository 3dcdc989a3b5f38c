"""Text made from the lines of a file, part by part, is that of the events they hold.

The typed text is compared with the reference's in test_events.py and test_event_corpus.py; here
each way of getting it from a line is compared with the typed one, byte for byte.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
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
from retis_py.events.jsonl import EventFile
from retis_py.events.layout import PARTS_TIME, split_lines, split_series
from retis_py.events.lines import UNDECODABLE, LineFormat, wrong_with
from retis_py.events.sections.startup import NftRules, NftTable
from retis_py.events.text import TextFormat, series_text
from retis_py.process import work
from retis_py.process.line_text import LineText
from retis_py.process.work import Damage, Done

pytestmark = pytest.mark.usefixtures("ways")

# The rule and the policy that FULL names, in its network namespace.
CHAINS = {FULL["nft"]["chain_name"]: {str(FULL["nft"]["rule_handle"]): "a }", "policy": "b"}}
RULES = NftRules(
    [NftTable("inet", FULL["nft"]["table_name"], FULL["nft"]["table_handle"], CHAINS)],
    FULL["netns"]["inum"],
)
FORMATS = [
    TextFormat(
        multi_line=multi,
        utc=utc,
        link_layer=link_layer,
        clock_offset=10**18,
        colour=colour,
        nft_rules=RULES if rules else None,
    )
    for multi, utc, link_layer, colour, rules in product((True, False), repeat=5)
]
STARTUP: Json = {"common": {"timestamp": 1}, "startup": FULL["startup"]}
# What ends a part too early for whoever looks for braces and quotes.
TRAPS = (
    '"',
    "}",
    "{",
    '},"',
    '"}',
    "\\",
    '\\"',
    "]",
    '},{"common":{',
    '","probe_type":"',
    "\n",
    "é",
)
traps = st.lists(st.sampled_from(TRAPS) | st.text(max_size=2), max_size=4).map("".join)
pools = st.lists(events(names | hostile_names | traps), min_size=3, max_size=8)
seeds = st.integers(0, 2**32)
UNSORTED = LineFormat(CURRENT, sorted=False)
SORTED = LineFormat(CURRENT, sorted=True)

batches = settings(
    max_examples=10,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
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
        new: Any = random.choice((1, None, "}", [{}], {"common": {"timestamp": 3}}, [], {}, ["a"]))
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


def broken(line: bytes, random: Random) -> bytes:
    """The line with up to three characters of its structure lost, doubled or replaced."""
    changed = bytearray(line)
    for _ in range(random.randint(0, 3)):
        places = [at for at, byte in enumerate(changed) if byte in b'{}[]":,']
        at = random.choice(places)
        change = random.randrange(3)
        if change == 0:
            del changed[at]
        elif change == 1:
            changed.insert(at, changed[at])
        else:
            changed[at] = random.choice(b'{}[]":, 0')
    return bytes(changed)


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


def typed(lines: LineFormat, line: bytes, fmt: TextFormat) -> tuple[bytes, str]:
    """Text of a line by way of its typed events, and what is wrong with it."""
    try:
        text = series_text(lines.events(line), fmt)
    except UNDECODABLE as error:
        return b"", wrong_with(error)
    return (text + ("\n\n" if fmt.multi_line else "\n")).encode(), ""


def assert_same_text(
    lines: LineFormat, content: Sequence[bytes], fmt: TextFormat, random: Random
) -> int:
    """Compare piece by piece, of one line mostly: what is odd in one changes how all are read.

    Returns how many lines are damaged.
    """
    job = LineText(lines, fmt, keep_going=True)
    damaged = start = 0
    while start < len(content):
        piece = content[start : start + random.choice((1, 1, 1, 2, 30))]
        expected = [typed(lines, line, fmt) for line in piece]
        damages = tuple(Damage(n, what) for n, (_, what) in enumerate(expected) if what)
        done = job(b"".join(line + b"\n" for line in piece))
        assert done.result == b"".join(text for text, _ in expected), piece
        assert done.damages == damages, piece
        assert done.lines == len(piece)
        start += len(piece)
        damaged += len(damages)
    return damaged


def test_all_names_of_formats() -> None:
    """A new part of the format has its place in FORMATS."""
    assert len({str(fmt) for fmt in FORMATS}) == 32
    assert len(TextFormat.__struct_fields__) == 6


@pytest.mark.parametrize("spelling", SPELLINGS)
@batches
@given(drawn=pools, seed=seeds)
def test_every_spelling(spelling: str, drawn: list[Json], seed: int) -> None:
    random = repeatable(seed)
    lines = [SPELLINGS[spelling](event, random) for event in mixed(drawn, random, 120)]
    series = list(series_of(lines, random))
    for fmt in random.sample(FORMATS, 3):
        assert not assert_same_text(UNSORTED, lines, fmt, random)
        assert not assert_same_text(SORTED, series, fmt, random)


@pytest.mark.parametrize("time", [7, PARTS_TIME])
@pytest.mark.parametrize("tail", [b"", b',"dev":{"name":"eth0","ifindex":1}'])
def test_the_last_time_counts(time: int, tail: bytes) -> None:
    """Of an event with two, even if the last is the one that stands in for others' in here."""
    begin = b'{"common":{"timestamp":5,"smp_id":1}'
    again = b',"common":{"timestamp":%d,"smp_id":1}' % time
    for line in (begin + again + tail + b"}", begin + tail + again + b"}"):
        for fmt in FORMATS:
            assert not assert_same_text(UNSORTED, [line], fmt, repeatable(1))


@batches
@given(drawn=pools, seed=seeds)
def test_what_we_write_is_taken_apart(drawn: list[Json], seed: int) -> None:
    """The tests above would hold as well if all lines were decoded one by one."""
    random = repeatable(seed)
    lines = [SPELLINGS["ours"](usual(event), random) for event in mixed(drawn, random, 200)]
    assert len(split_lines(b"".join(line + b"\n" for line in lines))) == len(lines)
    series = list(series_of(lines, random))
    assert sum(split_series(b"".join(line + b"\n" for line in series))[1]) == len(lines)


def usual(event: Json) -> Json:
    """The event as it comes from a kernel: at some time, on a CPU."""
    common = {"timestamp": event["common"]["timestamp"] % 10**18 + 1, "smp_id": 3}
    return event | {"common": event["common"] | common}


@batches
@given(drawn=pools, seed=seeds)
def test_rules_of_nftables(drawn: list[Json], seed: int) -> None:
    """The comparisons above would hold as well if no event had a rule that is known."""
    random = repeatable(seed)
    lines = [SPELLINGS["ours"](event, random) for event in mixed(drawn, random, 200)]
    text = "".join(typed(UNSORTED, line, TextFormat(nft_rules=RULES))[0].decode() for line in lines)
    assert text.count("\n    rule: ") > 5


@batches
@given(drawn=pools, seed=seeds)
def test_damage(drawn: list[Json], seed: int) -> None:
    """A line with some characters lost, doubled or replaced is as damaged as its JSON is."""
    random = repeatable(seed)
    lines = [encode(decode(compact(event))) for event in mixed(drawn, random, 120)]
    fmt = random.choice(FORMATS)
    damaged = assert_same_text(UNSORTED, [broken(line, random) for line in lines], fmt, random)
    assert damaged > 20
    series = [broken(line, random) for line in series_of(lines, random)]
    assert assert_same_text(SORTED, series, fmt, random)


# What is easily taken for an event in our layout, and is none, or another.
ODD = (
    """{"common":{"timestamp":1}}}""",
    """{"common":{"timestamp":1}},"skb-tracking":{"orig_head":1,"timestamp":2,"skb":3}}""",
    """{"common":{"timestamp":1},"stack_trace":["a"]}""",
    """{"common":{"timestamp":1},"stack_trace":["a"]}}""",
    """{"common":{"timestamp":1},"kernel":{"symbol":"x","probe_type":"kprobe"}""",
    """{"common":{"timestamp":1},"kernel":{"symbol":"x","probe_type":"kprobe","stack_trace":[]}}""",
    """{"common":{"timestamp":1},"kernel":{"symbol":"x","probe_type":"kprobe","stack_trace":[]}""",
    """{"common":{"timestamp":1},"kernel":{"symbol":"x","probe_type":"kprobe","new":1}}""",
    """{"common":{"timestamp":1},"common":{"timestamp":5}}""",
    """{"common":{"timestamp":5},"dev":{"name":"a","ifindex":1},"common":{"timestamp":0}}""",
    """{"common":{"timestamp":1},"skb":{"x":1},"skb-drop":{"drop_reason":"A"},"new":{"a":{}}}""",
    """{"common":{"timestamp":1},"skb":{"x":1},"dev":{"name":"a","ifindex":1},"new":{"a":{}}}""",
    """{"common":{"timestamp":1},"netns":{"inum":1},"netns":{"inum":2}}""",
    """{"common":{"timestamp":01}}""",
    """{"common":{"timestamp":1.0}}""",
    """{"common":{"timestamp":1}}\r""",
    """ {"common":{"timestamp":1}}""",
    """{"common":{"timestamp":1}} {"common":{"timestamp":1}}""",
    """{"common":{"timestamp":1},"x":{"common":{"timestamp":2}}}""",
    """{"common":{"timestamp":1},"packet":null,"skb":null}""",
    "",
    " ",
)


@pytest.mark.parametrize("line", [*ODD, '{"common":{"timestamp":1}'])
@pytest.mark.parametrize("lines", [UNSORTED, SORTED], ids=["unsorted", "sorted"])
def test_odd_lines(line: str, lines: LineFormat) -> None:
    written = f"[{line}]" if lines.sorted and line.strip() else line
    if not written.strip():
        assert LineText(lines, FORMATS[0])(written.encode() + b"\n") == Done(b"", 1)
        return
    for fmt in FORMATS:
        assert_same_text(lines, [written.encode()], fmt, repeatable(0))


def test_a_series_on_two_lines_is_two_damaged_lines() -> None:
    piece = b'[{"common":{"timestamp":1}}\n,{"common":{"timestamp":2}}]\n'
    done = LineText(SORTED, TextFormat(), keep_going=True)(piece)
    assert (done.result, done.lines, [damage.line for damage in done.damages]) == (b"", 2, [0, 1])


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("version", ["v1.5.0", "v1.6.1", "v1.7.0"])
@settings(batches, max_examples=3)
@given(drawn=pools, seed=seeds)
def test_whole_files(
    tmp_path_factory: pytest.TempPathFactory,
    processes: int,
    version: str,
    drawn: list[Json],
    seed: int,
) -> None:
    """Old and current files, in pieces of any size, by one process and by two."""
    random = repeatable(seed)
    path = tmp_path_factory.getbasetemp() / "whole.data"
    startup = compact(STARTUP | {"startup": FULL["startup"] | {"retis_version": version}})
    lines = [as_old(event, version) for event in mixed(drawn, random, 150)]
    fmt = random.choice(FORMATS)
    for content in ([startup, *lines], [b"[" + startup + b"]", *series_of(lines, random)]):
        path.write_bytes(b"\n".join(content) + random.choice((b"", b"\n")))
        with EventFile(path) as file:
            expected = b"".join(typed(file.format, line, fmt)[0] for line in content)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(work, "WORTH_SHARING", 0)
            patch.setattr(work, "_SHARED_PIECE", random.choice((1, 700, 20_000)))
            with EventFile(path) as file:
                job = LineText(file.format, fmt)
                texts = [text for _, text in work.work_through(file, job, processes)]
        assert len(texts) > 1 or processes == 1
        assert_equal_texts(b"".join(texts), expected)


def as_old(event: Json, version: str) -> bytes:
    """The event as releases before 1.7 wrote it."""
    event = deepcopy(event)
    if version != "v1.7.0":
        for connection in (event.get("ct", {}), event.get("ct", {}).get("parent", {})):
            if "proto_state" in connection:
                connection["tcp_state"] = connection.pop("proto_state")
    if version == "v1.5.0" and "ct" in event:
        del event["ct"]["ct_status"]
    if version == "v1.5.0" and "skb" in event:
        if "packet" in event:
            packet = event.pop("packet")
            packet["raw"] = packet.pop("data")
            event["skb"]["packet"] = packet
        if "netns" in event:
            netns = event.pop("netns")
            event["skb"]["ns"] = netns | {"netns": netns.pop("inum")}
        if "dev" in event:
            event["skb"]["dev"] = event.pop("dev")
    return compact(event)


def assert_equal_texts(ours: bytes, expected: bytes) -> None:
    if ours != expected:  # pytest takes minutes to compare long texts
        pairs = zip(ours.split(b"\n"), expected.split(b"\n"), strict=False)
        assert next((pair for pair in pairs if pair[0] != pair[1]), None) is None
        assert len(ours) == len(expected)
