"""The compiled part gives what Python gives, whatever bytes it sees."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interop.compiled_comparison import (
    DATA,
    FORMATS,
    UNSORTED,
    Jobs,
    compare_sorting,
    lines_of_data,
    python_alone,
    varied,
)
from interop.event_mixing import mixed
from interop.event_strategies import Json, events, hostile_names, names
from interop.packet_strategies import repeatable
from retis_py import compiled
from retis_py.events.event import decode, encode
from retis_py.process import talkers as talkers_module
from retis_py.process.index_rows import IndexRows
from retis_py.process.line_text import LineText
from retis_py.process.seen_packets import SeenPacket, packed
from retis_py.process.stats_lines import CountLines
from retis_py.process.talkers import Talkers

pytestmark = pytest.mark.skipif(
    compiled.library is None, reason=f"the compiled part {compiled.WHY_NOT}"
)

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "retis_py" / "native"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
SECONDS = 6

batches = settings(
    max_examples=10,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@batches
@given(drawn=st.lists(events(names | hostile_names), min_size=3, max_size=8), seed=st.integers(0))
def test_events(drawn: list[Json], seed: int) -> None:
    random = repeatable(seed)
    lines = [encode(decode(encode(each))) for each in mixed(drawn, random, 150)]
    jobs = Jobs(random.choice(FORMATS), keep_going=random.random() < 0.5)
    while lines:
        count = random.choice((1, 1, 2, 20))
        jobs.compare(b"".join(line + b"\n" for line in lines[:count]))
        del lines[:count]


@batches
@given(seed=st.integers(0))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    random = repeatable(seed)
    startup, lines = lines_of_data()
    pieces = [varied([startup, *lines], random) for _ in range(60)]
    jobs = Jobs(random.choice(FORMATS), keep_going=random.random() < 0.5)
    for piece in pieces:
        jobs.compare(piece)
    compare_sorting(tmp_path_factory.getbasetemp() / "any", startup, pieces)


def test_every_cut() -> None:
    _, lines = lines_of_data()
    line = next(each for each in lines if b"upcall_return" in each)
    jobs = Jobs(FORMATS[0], keep_going=True)
    for end in range(len(line) + 1):
        jobs.compare(line[:end] + b"\n")
        jobs.compare(line[:end])


def test_room_for_lines() -> None:
    """As many as there can be, and no memory for what one long line is not."""
    shortest = b'{"common":{"timestamp":1}}\n'
    for piece in (shortest * 1000, shortest * 400_000):
        assert len(piece) // len(shortest) <= compiled.most_lines(piece)
        assert CountLines(UNSORTED, keep_going=False)(piece).result.packets == packed([])
    assert compiled.most_lines(bytes(9 << 20)) == 1


def test_usual_lines_are_not_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """All comparisons would hold as well if C did nothing."""

    def unexpected(*_: object) -> None:
        raise AssertionError

    _, lines = lines_of_data()
    piece = b"".join(line + b"\n" for line in lines)
    monkeypatch.setattr(LineText, "_texts", unexpected)
    monkeypatch.setattr(LineText, "_one_by_one", unexpected)
    monkeypatch.setattr(CountLines, "_count", unexpected)
    monkeypatch.setattr(IndexRows, "_by_python", unexpected)
    assert LineText(UNSORTED, FORMATS[0])(piece).lines == len(lines)
    assert CountLines(UNSORTED, keep_going=False)(piece).lines == len(lines)
    assert len(IndexRows()(piece).result.facts) == 4 * 80


def seen_packets(random: Random) -> Iterator[SeenPacket]:
    for _ in range(random.randrange(60)):
        key = (
            None if random.random() < 0.2 else (random.randrange(40), random.choice((0, 2**64 - 1)))
        )
        ends = random.randrange(12).to_bytes(4), random.choice((b"abcdef", b"abcd"))
        yield key, random.choice((0, 60, 2**32 - 1)), random.choice((None, ends, ends))


@pytest.mark.parametrize("seed", range(40))
def test_talkers(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The same are forgotten, and given up, at the same moment."""
    random = repeatable(seed)
    monkeypatch.setattr(talkers_module, "_REMEMBERED", random.choice((3, 20, 1000)))
    monkeypatch.setattr(talkers_module, "_HELD", random.choice((8, 1000)))
    ours, theirs = Talkers(), Talkers()
    for _ in range(20):
        packets = list(seen_packets(random))
        ours.add_packed(packed(packets))
        with python_alone():
            theirs.add(packets)
        assert (ours.total, ours.complete, len(ours)) == (
            theirs.total,
            theirs.complete,
            len(theirs),
        )
        assert ours.by_bytes(99) == theirs.by_bytes(99)
        assert ours.by_packets(99) == theirs.by_packets(99)


def test_sanitizers(tmp_path: Path) -> None:
    """No byte is read or written that is not there."""
    library = tmp_path / "sanitized.so"
    sources = sorted(map(str, NATIVE.glob("*.c")))
    compiling = ["cc", "-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", *SANITIZERS]
    subprocess.run([*compiling, "-fPIC", "-shared", "-o", str(library), *sources], check=True)
    asked = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    )
    environment = os.environ | {
        "LD_PRELOAD": asked.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python does not clean up at its end
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    }
    program = str(ROOT / "tests/interop/compiled_comparison.py")
    done = subprocess.run(
        [sys.executable, program, str(library), str(SECONDS), "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[0]) >= 100


def test_another_library_is_not_used(tmp_path: Path) -> None:
    assert compiled.load(tmp_path / "none.so") == (None, "was not built")
    source = "".join(f"int {name}(void) {{ return 99; }}\n" for name in compiled.FUNCTIONS)
    for text in ("int x;", source):
        (tmp_path / "other.c").write_text(text)
        library = tmp_path / f"{len(text)}.so"
        command = ["cc", "-w", "-fno-builtin", "-shared", "-fPIC", "-o", str(library)]
        subprocess.run([*command, str(tmp_path / "other.c")], check=True)
        assert compiled.load(library) == (None, "is of another version")


@pytest.mark.parametrize(
    ("switch", "said"), [("1", "is switched off by RETIS_PURE_PYTHON"), ("", "is used")]
)
def test_the_log_says_which(switch: str, said: str) -> None:
    command = [sys.executable, "-m", "retis_py", "--log-level", "debug", "print", str(DATA)]
    environment = os.environ | {"RETIS_PURE_PYTHON": switch}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert f"the compiled part {said}" in done.stderr
