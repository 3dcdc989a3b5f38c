"""Processes that help to decode: lines are those of one decoder, in order, whatever happens."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.netns import wait_until
from lab.spooled import children_of, is_gone
from retis_py.collect import decoding_pool
from retis_py.collect.channel import Channel
from retis_py.collect.decoder_process import DecoderProcess
from retis_py.collect.decoding_pool import (
    SLOT_SIZE,
    Batch,
    DecodingPool,
    Result,
    choose_helpers,
    pack,
    unpack,
)
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collect.spool_format import Decoded
from retis_py.errors import RetisError
from retis_py.probes.probe import Probe, ProbeType
from unit.collect.spools import record

PROBES = [Probe(ProbeType.RAW_TRACEPOINT, "net:netif_rx", (("skb", 0),))]
NO_PROBE = 8  # where a record says which probe it is of

Numbers = Sequence[int]


def decoder() -> JsonDecoder:
    return JsonDecoder((), PROBES, hex)


def batch(numbers: Numbers) -> Batch:
    return Batch([record(number, number) for number in numbers], Decoded(0, 0, len(numbers)))


def lines(batch: Batch) -> bytes:
    return b"".join(decoder().lines(batch.records))


@contextmanager
def started(number: int) -> Iterator[DecodingPool]:
    with closing(DecodingPool(decoder(), number)) as pool:
        assert pool.start()
        yield pool
    assert not children()


OTHERS = set[int]()


@pytest.fixture(autouse=True)
def _others() -> Iterator[None]:
    """Guests may run beside."""
    OTHERS.update(children_of(os.getpid()))
    yield
    OTHERS.clear()


def children() -> list[int]:
    return [pid for pid in children_of(os.getpid()) if pid not in OTHERS]


def take(pool: DecodingPool, timeout: float | None = 20) -> Result:
    result = pool.take(timeout)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("cpus", "helpers"), [(1, 0), (2, 0), (3, 0), (4, 2), (5, 3), (6, 4), (7, 4), (128, 4)]
)
def test_how_many(cpus: int, helpers: int) -> None:
    assert choose_helpers(cpus) == helpers


@given(st.lists(st.binary(max_size=40)))
def test_records_in_one_piece(records: list[bytes]) -> None:
    assert unpack(pack(records), len(records)) == records


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.lists(st.integers(0, 1 << 30), min_size=1), st.booleans()), max_size=30),
)
def test_in_order_and_complete(helpers: int, batches: list[tuple[list[int], bool]]) -> None:
    """However many are given before one is taken."""
    found = []
    with started(helpers) as pool:
        for numbers, eager in batches:
            pool.give(batch(numbers))
            while pool.waiting and (eager or pool.waiting == pool.capacity):
                found.append(take(pool))
        while pool.waiting:
            found.append(take(pool))
    assert [result.batch for result in found] == [batch(numbers) for numbers, _ in batches]
    assert [result.lines for result in found] == [lines(result.batch) for result in found]


def test_takes_no_longer_than_it_may() -> None:
    with started(1) as pool:
        [helper] = children()
        os.kill(helper, signal.SIGSTOP)
        pool.give(batch([1]))
        assert pool.take(0) is None
        assert pool.take(0.01) is None
        os.kill(helper, signal.SIGCONT)
        assert take(pool).lines == lines(batch([1]))


def test_a_batch_that_cannot_be_decoded_is_given_back() -> None:
    damaged = bytearray(record(3, 3))
    damaged[NO_PROBE] = 99
    wrong = Batch([record(1, 1), bytes(damaged), record(4, 4)], Decoded(0, 0, 0))
    with started(2) as pool:
        for each in (batch([1]), wrong, batch([5]), batch([6])):
            pool.give(each)
        assert take(pool).lines == lines(batch([1]))
        assert take(pool) == (wrong, None)
        assert take(pool).lines == lines(batch([5]))
        assert take(pool).lines == lines(batch([6]))


def test_a_batch_that_is_too_large_is_given_back() -> None:
    large = Batch([record(1, 1, bytes(SLOT_SIZE))], Decoded(0, 0, 0))
    with started(2) as pool:
        for each in (batch([1]), large, batch([2]), batch([3])):
            pool.give(each)
        assert [take(pool).lines for _ in range(4)] == [
            lines(batch([1])),
            None,
            lines(batch([2])),
            lines(batch([3])),
        ]


def test_lines_that_are_too_large_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of which a line is several times as large."""
    many = batch(range(500))
    monkeypatch.setattr(decoding_pool, "SLOT_SIZE", len(pack(many.records)) + 100)
    with started(1) as pool:
        pool.give(many)
        pool.give(batch([7]))
        assert take(pool) == (many, None)
        assert take(pool).lines == lines(batch([7]))


@pytest.mark.parametrize("when", ["before", "with a batch"])
def test_a_helper_is_killed(when: str) -> None:
    with started(3) as pool:
        victim = children()[1]
        if when == "before":
            os.kill(victim, signal.SIGKILL)
        else:
            os.kill(victim, signal.SIGSTOP)
        for number in range(pool.capacity):
            pool.give(batch([number]))
        os.kill(victim, signal.SIGKILL)
        assert take(pool).lines == lines(batch([0]))
        with pytest.raises(RetisError, match=r"^a process that helps .* by SIGKILL; .*memory"):
            pool.take(20)


def test_closed_whatever_they_do() -> None:
    pool = DecodingPool(decoder(), 2)
    assert pool.start()
    pool.give(batch(range(2000)))
    os.kill(children()[0], signal.SIGSTOP)
    pool.close()
    assert not children()
    assert pool.waiting == 0
    assert pool.start()  # and again
    pool.give(batch([1]))
    assert take(pool).lines == lines(batch([1]))
    pool.close()


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch, open_descriptors: None) -> None:
    """As where the limit of processes is reached: one of two is not good enough."""
    fork, calls = os.fork, []

    def refuse() -> int:
        calls.append(1)
        if len(calls) > 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", refuse)
    pool = DecodingPool(decoder(), 2)
    assert not pool.start()
    assert not pool.start()
    assert len(calls) == 2
    assert not children()


def test_they_end_with_the_process_that_they_help(tmp_path: Path) -> None:
    """However that ends; and hold none of its descriptors, above all not each other's."""
    names = tmp_path / "pids"
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException), (tmp_path / "held").open("w"):
            pool = DecodingPool(decoder(), 3)
            pool.start()
            pool.give(batch(range(100)))
            names.with_suffix(".new").write_text(" ".join(map(str, children())))
            names.with_suffix(".new").rename(names)
            time.sleep(60)
        os._exit(1)
    wait_until(names.exists, "helpers")
    helpers = [int(name) for name in names.read_text().split()]
    assert len(helpers) == 3
    wait_until(lambda: all(len(own_files(h)) == 1 for h in helpers), "helpers to close files")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: all(map(is_gone, helpers)), "the helpers' end")


def own_files(pid: int) -> list[str]:
    """What a process has open beside its standard files."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if int(path.name) > 2:
                found.append(str(path.readlink()))
    return found


def test_signals_are_not_theirs() -> None:
    """Ctrl-C goes to all processes of a terminal."""

    def handler(_number: int, _frame: FrameType | None) -> None: ...

    before = signal.signal(signal.SIGINT, handler)
    try:
        with started(1) as pool:
            pool.give(batch([0]))
            take(pool)  # it runs
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(children()[0], number)
            pool.give(batch([1]))
            assert take(pool).lines == lines(batch([1]))
    finally:
        signal.signal(signal.SIGINT, before)


def test_out_of_memory() -> None:
    """What no machine has: an error that says so, and no bug."""

    def decode(_channel: Channel) -> int:
        return len(bytearray(1 << 60))

    with closing(DecoderProcess(decode, [])) as process, pytest.raises(RetisError) as raised:
        process.receive(20)
    assert "memory is short" in str(raised.value)
