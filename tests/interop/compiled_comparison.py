"""The compiled part against Python: the same of any bytes. Also a program, for sanitizers.

python tests/interop/compiled_comparison.py LIBRARY SECONDS SEED
"""

import base64
import contextlib
import itertools
import json
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from retis_py import compiled

if __name__ == "__main__":  # before anything else takes the usual one
    compiled.library, _why = compiled.load(Path(sys.argv[1]))
    assert compiled.library is not None, _why

from interop.packet_builders import samples
from interop.packet_strategies import variants
from retis_py.events.compat import CURRENT
from retis_py.events.jsonl import EventFile
from retis_py.events.lines import LineFormat
from retis_py.events.text import TextFormat
from retis_py.process import gathered_rows, sort, work
from retis_py.process.index_rows import IndexRows, as_rows
from retis_py.process.line_text import LineText
from retis_py.process.sort_index import IndexLines
from retis_py.process.stats import Stats
from retis_py.process.stats_lines import CountLines
from retis_py.process.work import Done, Job

DATA = Path(__file__).parents[1] / "data/test_events_packets.json"
UNSORTED = LineFormat(CURRENT, sorted=False)
FORMATS = [
    TextFormat(multi_line=multi, link_layer=link_layer, colour=colour)
    for multi, link_layer, colour in itertools.product((True, False), repeat=3)
]
TRAPS = (
    b'"',
    b"}",
    b"{",
    b'},"',
    b'"}',
    b"\\",
    b'\\"',
    b"]",
    b"[",
    b",",
    b":",
    b"\n",
    b"\x00",
    b"\xff",
    b" ",
    b'{"common":{"timestamp":',
    b"0",
    b"-1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"4294967296",
    b"1e5",
    b"null",
    b"true",
    b'"\xc3\xa9"',
    b',"startup":{}',
    b',"common":{"timestamp":1}',
    b',"skb-tracking":{"orig_head":1,"timestamp":2,"skb":3}',
    b',"skb":{}',
    b',"packet":null',
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b',"netns":{"inum":1}',
    b',"dev":{"name":"a","ifindex":1}',
    b',"ovs":{"event_type":"upcall","cpu":1}',
    b',"ovs":{"event_type":"upcall_enqueue","upcall_ts":5,"upcall_cpu":1,"queue_id":7}',
    b"==",
    b"=",
    b"+/",
    b',"ovs":{"event_type":"upcall_return","upcall_ts":5,"upcall_cpu":1}',
    b'"queue_id":',
    b'"cpu":null',
    b',"ovs":{"event_type":"action_execute","queue_id":7}',
    b',"ovs":{"event_type":"flow_lookup"}',
    b',"ovs-detrace":{"ufid":[1,2,3,4],"flow":5,"sf_acts":6}',
    b'"timestamp":7',
    b'"data":"gQAAAIEAAAA"',
)


def lines_of_data() -> tuple[bytes, list[bytes]]:
    """The startup event as of today, and the others."""
    first, *lines = DATA.read_bytes().splitlines()
    startup = json.loads(first)
    startup["startup"] |= {
        "retis_version": f"v{CURRENT}",
        "cmdline": "retis collect",
        "machine": {"kernel_release": "6.12", "kernel_version": "#1", "hardware_name": "x86_64"},
    }
    return msgspec.json.encode(startup), lines


def packet_line(packet: bytes) -> bytes:
    data = base64.b64encode(packet)
    size = len(packet)
    return b'{"common":{"timestamp":%d},"packet":{"len":%d,"capture_len":%d,"data":"%b"}}' % (
        size + 1,
        size,
        size,
        data,
    )


def packet_lines(random: Random, count: int) -> list[bytes]:
    """Lines of packets of each kind, whole, cut and changed; some lie far behind VLAN tags."""
    lines = []
    for packet in samples().values():
        tags = b"\x81\0\0\x01" * random.choice((0, 1, 2, 12, 13, 125))
        deep = packet[:12] + tags + packet[12:] + bytes(random.choice((0, 0, 500)))
        lines += [packet_line(each) for each in (packet, deep, *variants(deep, random, count))]
    return lines


@contextlib.contextmanager
def python_alone() -> Iterator[None]:
    library, compiled.library = compiled.library, None
    try:
        yield
    finally:
        compiled.library = library


def changed(line: bytes, others: list[bytes], random: Random) -> bytes:
    """The line with something cut, doubled, flipped, put in or taken from another."""
    at, end = sorted(random.randrange(len(line) + 1) for _ in range(2))
    if random.random() < 0.7:
        end = min(end, at + random.randrange(8))
    match random.randrange(6):
        case 0:
            return line[:at] + line[end:]
        case 1:
            return line[:end] + line[at:]
        case 2:
            flipped = bytearray(line)
            if at < len(line):
                flipped[at] ^= 1 << random.randrange(8)
            return bytes(flipped)
        case 3:
            return line[:at] + random.choice(TRAPS) + line[end:]
        case 4:
            return line[:at]
        case _:
            other = random.choice(others)
            start = random.randrange(len(other) + 1)
            return line[:at] + other[start : start + random.randrange(200)] + line[end:]


def varied(lines: list[bytes], random: Random) -> bytes:
    """A few lines, most of them sound."""
    made = []
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        line = random.choice(lines)
        while random.random() < 0.4:
            line = changed(line, lines, random)
        made.append(line + b"\n")
    return b"".join(made)


def counted(job: Job, piece: bytes) -> tuple[Any, Done]:
    done = job(piece)
    stats = Stats(is_sorted=False)
    for _ in range(2):  # the second time the same packets
        stats.add(done.result, 5)
    return stats.tables(1 << 20), done._replace(result=None)


class Jobs:
    """One of each, which remember what they saw before."""

    def __init__(self, fmt: TextFormat, *, keep_going: bool) -> None:
        def made() -> tuple[Job, Job]:
            return LineText(UNSORTED, fmt, keep_going=keep_going), CountLines(
                UNSORTED, keep_going=keep_going
            )

        self._index = IndexRows(keep_going=keep_going), IndexLines(keep_going=keep_going)
        self._text, self._count = made()
        with python_alone():
            self._python_text, self._python_count = made()

    def compare(self, piece: bytes) -> None:
        text, (tables, count) = self._text(piece), counted(self._count, piece)
        with python_alone():
            assert text == self._python_text(piece), piece
            assert (tables, count) == counted(self._python_count, piece), piece
        index, expected = (index(piece) for index in self._index)
        expected = expected._replace(result=as_rows(expected.result))
        assert index._replace(result=None) == expected._replace(result=None), piece
        for ours, theirs, width in zip(index.result, expected.result, (5, 5, 10, 0), strict=True):
            assert in_order(ours, width) == in_order(theirs, width), piece


def in_order(rows: Any, width: int) -> Any:
    if not width:
        return rows
    numbers = array("Q", rows)
    return sorted(numbers[at : at + width].tolist() for at in range(0, len(numbers), width))


def sorted_lines(path: Path) -> tuple[list[bytes], Any, int]:
    with (
        EventFile(path, keep_going=True) as file,
        sort.Sorter([file], keep_going=True, processes=2) as sorter,
    ):
        sorter.read()
        return b"".join(sorter.lines()).splitlines(), sorter.lost, file.damaged


def compare_sorting(path: Path, startup: bytes, pieces: list[bytes]) -> None:
    path.write_bytes(startup + b"\n" + b"".join(pieces))
    ours = sorted_lines(path)
    with python_alone():
        assert ours == sorted_lines(path)


def main() -> None:
    """Compare until the time is up."""
    seconds, seed = float(sys.argv[2]), int(sys.argv[3])
    random = Random(seed)  # noqa: S311
    startup, lines = lines_of_data()
    end = time.monotonic() + seconds
    count = 0
    with TemporaryDirectory() as folder:
        compare_sorting(Path(folder) / "events", startup, [])  # no rows at all
        while time.monotonic() < end:
            jobs = Jobs(random.choice(FORMATS), keep_going=random.random() < 0.5)
            pieces = [varied([startup, *lines], random) for _ in range(100)]
            packets = packet_lines(random, 10)
            pieces += [varied(packets, random) for _ in range(100)]
            pieces += [line + b"\n" for line in packets]
            for piece in pieces:
                jobs.compare(piece)
            sort._MEMORY = random.choice((500, 64 << 20))
            work.WORTH_SHARING, work._SHARED_PIECE = random.choice((0, 32 << 20)), 20_000
            compare_sorting(Path(folder) / "events", startup, pieces)
            count += len(pieces)
    assert gathered_rows.library is compiled.library
    print(f"{count} pieces")  # noqa: T201


if __name__ == "__main__":
    main()
