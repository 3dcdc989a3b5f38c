"""Pieces counted, however they are written, and what is damaged in them."""

import json
from collections import Counter
from typing import Any

import pytest

from retis_py import compiled
from retis_py.events.compat import CURRENT, Version
from retis_py.events.lines import LineFormat
from retis_py.process.stats_lines import CountLines, PieceStats
from retis_py.process.work import Done


@pytest.fixture(autouse=True)
def _python(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiled part makes of the same is compared in test_compiled_part.py."""
    monkeypatch.setattr(compiled, "library", None)


FORMAT = LineFormat(CURRENT, sorted=False)
EVENT: dict[str, Any] = {
    "common": {"timestamp": 5},
    "kernel": {"symbol": "ip_rcv", "probe_type": "kprobe"},
    "skb-tracking": {"orig_head": 1, "timestamp": 2, "skb": 3},
    "packet": {"len": 60, "capture_len": 2, "data": "QUI="},
}
LINE = json.dumps(EVENT, separators=(",", ":")).encode() + b"\n"
OTHER = LINE.replace(b'"orig_head":1', b'"orig_head":2')


def count(piece: bytes, lines: LineFormat = FORMAT, *, keep_going: bool = True) -> Done:
    return CountLines(lines, keep_going=keep_going)(piece)


def events(done: Done) -> int:
    assert isinstance(done.result, PieceStats)
    return done.result.kinds.total()


def test_a_packet_is_looked_at_once() -> None:
    clone = EVENT | {"skb-tracking": EVENT["skb-tracking"] | {"timestamp": 3}}
    done = count(LINE * 3 + json.dumps(clone).encode() + b"\n")
    assert (events(done), done.lines, done.damages) == (4, 4, ())
    assert sorted(done.result.packets) == [((2, 1), 60, None), ((3, 1), 60, None)]


def test_the_length_that_a_packet_had_first() -> None:
    later = EVENT | {"packet": EVENT["packet"] | {"len": 9}}
    (packet,) = count(LINE + json.dumps(later).encode() + b"\n").result.packets
    assert packet == ((2, 1), 60, None)


def test_without_tracking_id_each_packet_counts() -> None:
    alone = {key: value for key, value in EVENT.items() if key != "skb-tracking"}
    done = count(json.dumps(alone).encode() + b"\n" + LINE + json.dumps(alone).encode() + b"\n")
    assert [key for key, *_ in done.result.packets].count(None) == 2
    assert len(done.result.packets) == 3


@pytest.mark.parametrize("value", [None, {**EVENT["packet"], "data": ""}])
def test_null_and_empty(value: object) -> None:
    done = count(json.dumps(EVENT | {"packet": value}).encode() + b"\n" + LINE)
    assert (events(done), done.damages) == (2, ())
    assert len(done.result.packets) == 1


@pytest.mark.parametrize(
    ("piece", "counted", "damaged"),
    [
        (LINE + b"garbage\n" + LINE, 2, [1]),
        (LINE + LINE[:-1] + LINE + LINE, 2, [1]),  # two on a line
        (LINE.replace(b",", b",\n", 1) + LINE, 1, [0, 1]),  # one on two lines
        (LINE + OTHER.replace(b"QUI=", b"Q*I="), 1, [1]),
        (LINE + OTHER.replace(b'"len":60', b'"len":-1'), 1, [1]),
        (LINE + LINE.replace(b'"symbol":"ip_rcv",', b""), 1, [1]),
        (LINE + LINE.replace(b":5}", b":-5}"), 1, [1]),
        (LINE + b"[]\n", 1, [1]),
    ],
)
def test_damage(piece: bytes, counted: int, damaged: list[int]) -> None:
    done = count(piece)
    assert events(done) == counted
    assert [damage.line for damage in done.damages] == damaged
    assert done.lines == piece.count(b"\n")
    stopped = count(piece, keep_going=False)
    assert [damage.line for damage in stopped.damages] == damaged[:1]
    assert events(stopped) <= counted


def test_empty_lines_are_no_damage() -> None:
    done = count(b"\n" + LINE + b" \n\n" + LINE)
    assert (events(done), done.lines, done.damages) == (2, 5, ())
    assert count(b"") == Done(PieceStats(Counter(), 0, None, None, []), 0)


def test_series() -> None:
    lines = FORMAT._replace(sorted=True)
    startup = {"common": {"timestamp": 1}, "startup": {}}
    event = json.loads(LINE)
    later = event | {"common": {"timestamp": 9}}
    piece = "".join(f"{json.dumps(each)}\n" for each in ([startup], [event, later], [event]))
    done = count(piece.encode(), lines)
    assert done.result[1:4] == (2, 5, 9)
    assert (events(done), done.lines) == (3, 3)
    done = count(b"[]\n" + piece.encode(), lines)
    assert [damage.line for damage in done.damages] == [0, 1]  # that startup event lacks all


def test_a_file_of_an_old_release() -> None:
    old = {
        "common": {"timestamp": 5},
        "skb": {
            "dev": {"name": "eth0", "ifindex": 2},
            "ns": {"netns": 7},
            "packet": {"len": 60, "capture_len": 2, "packet": "QUI="},
        },
    }
    done = count(json.dumps(old).encode() + b"\n", LineFormat(Version(1, 5, 0), sorted=False))
    assert done.damages == ()
    ((kind, number),) = done.result.kinds.items()
    assert number == 1
    assert (kind[3].inum, kind[4].name) == (7, "eth0")
    assert [length for _, length, _ in done.result.packets] == [60]
