"""Records of several rings come out in order and complete, however they were taken."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retis_py.collect.merge import MARGIN, DamagedChunkError, Merge, split
from retis_py.collect.ring import DISCARDED, record_bytes
from retis_py.collect.spool_format import Chunk, Decoded, Kind
from unit.collect.spools import record

NOTHING = Decoded(0, 0, 0)


def chunk(ring: int, time: int, *, complete: bool = True) -> Chunk:
    return Chunk(Kind.RECORDS, 8, time, ring, 0, complete)


def content(*records: bytes) -> bytes:
    return b"".join(map(record_bytes, records))


def numbers(records: list[bytes]) -> list[int]:
    return [int.from_bytes(each[24:28], "little") for each in records]


# Rounds: what each ring gets before it is looked at, and how many of these records the look sees.
ROUND = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=3, max_size=3)


@settings(max_examples=200, deadline=None)
@given(st.lists(ROUND, max_size=12), st.integers(1, 7), st.data())
def test_any_interleaving(
    rounds: list[list[tuple[int, int]]], most: int, data: st.DataObject
) -> None:
    """Rings fill in turn; a look at one may end at a record that is being written."""
    merge = Merge(3, NOTHING)
    held: list[list[bytes]] = [[], [], []]
    now, made, found = MARGIN, 0, []
    for begin in rounds:
        for ring, (more, _) in enumerate(begin):
            for _ in range(more):
                now += data.draw(st.integers(0, 3))
                held[ring].append(record(now, made))
                made += 1
        now += MARGIN
        look = now
        for ring, (_, seen) in enumerate(begin):
            taken, held[ring] = held[ring][:seen], held[ring][seen:]
            if taken or held[ring]:
                merge.add(chunk(ring, look, complete=not held[ring]), look, content(*taken), look)
        while some := merge.take(most):
            found += some
        merge.decoded()
    for ring, rest in enumerate(held):
        merge.add(chunk(ring, now + 1), now + 1, content(*rest), now + 2)
    merge.finish()
    while some := merge.take(most):
        found += some
    assert sorted(numbers(found)) == list(range(made))
    times = [int.from_bytes(each[:8], "little") for each in found]
    assert times == sorted(times)
    assert merge.waiting == 0


def test_nothing_comes_out_before_all_rings_were_seen() -> None:
    merge = Merge(2, NOTHING)
    time = 100 * MARGIN
    merge.add(chunk(0, time), 0, content(record(time - 2 * MARGIN, 1)), 10)
    assert merge.take(10) == []  # ring 1 may follow in this round
    merge.add(chunk(1, time), 10, content(record(time - 3 * MARGIN, 2)), 20)
    assert merge.take(10) == []
    merge.add(chunk(0, 2 * time), 20, content(record(2 * time, 3)), 30)  # the next round
    assert numbers(merge.take(10)) == [2, 1]
    merge.clear(2 * time + 1)
    assert numbers(merge.take(10)) == [3]


def test_a_ring_with_nothing_in_it_holds_nothing_up() -> None:
    merge = Merge(2, NOTHING)
    for number in range(1, 5):
        time = 10 * MARGIN * number
        merge.add(chunk(0, time), number, content(record(time - 2 * MARGIN, number)), number + 1)
    assert numbers(merge.take(10)) == [1, 2, 3]


def test_a_ring_that_is_being_written_holds_others_up() -> None:
    merge = Merge(2, NOTHING)
    time = 100 * MARGIN
    merge.add(chunk(0, time), 0, content(record(time, 1)), 1)
    merge.add(chunk(1, time, complete=False), 1, b"", 2)
    merge.add(chunk(0, 2 * time), 2, content(record(2 * time, 2)), 3)
    assert merge.take(10) == []
    merge.add(chunk(1, 2 * time), 3, content(record(time - MARGIN, 0)), 4)
    merge.add(chunk(1, 3 * time), 4, b"", 5)
    assert numbers(merge.take(10)) == [0, 1]


def test_late_ones_come_all_the_same() -> None:
    merge = Merge(1, NOTHING)
    time = 100 * MARGIN
    merge.add(chunk(0, time), 0, content(record(time - 2 * MARGIN, 1)), 1)
    merge.clear(time)
    assert numbers(merge.take(10)) == [1]
    merge.add(chunk(0, time + 1), 1, content(record(5, 2)), 2)
    assert numbers(merge.take(10)) == [2]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 40), max_size=6), min_size=1, max_size=8),
    st.integers(0, 60),
)
def test_what_is_noted_as_decoded_is_all_that_was_taken(
    chunks: list[list[int]], count: int
) -> None:
    """Read again from what was noted, exactly the others come, or some of one time twice."""
    merge = Merge(1, NOTHING)
    placed = []
    number = 0
    for offset, times in enumerate(chunks):
        records = [record(time, number + n) for n, time in enumerate(times)]
        number += len(times)
        placed.append((offset, content(*records)))
        merge.add(chunk(0, 1), offset, placed[-1][1], offset + 1)
    merge.clear(30)
    taken = merge.take(count)
    noted = merge.decoded()
    again = Merge(1, noted)
    for offset, data in placed:
        if offset >= noted.unread:
            again.add(chunk(0, 1), offset, data, offset + 1)
    again.finish()
    rest = again.take(1000)
    assert set(numbers(taken)) | set(numbers(rest)) == set(range(number))
    repeated = set(numbers(taken)) & set(numbers(rest))
    times = {int.from_bytes(each[:8], "little") for each in taken if numbers([each])[0] in repeated}
    assert len(times) <= 1


def test_discarded_records_are_left_out() -> None:
    discarded = bytearray(record_bytes(record(1, 1)))
    discarded[0:4] = (int.from_bytes(discarded[0:4], "little") | DISCARDED).to_bytes(4, "little")
    short = (8 | DISCARDED).to_bytes(4, "little") + bytes(12)
    found = split(bytes(discarded) + short + content(record(2, 2)))
    assert [time for time, _ in found] == [2]


@given(st.binary(max_size=400).map(lambda data: data[: len(data) // 8 * 8]))
def test_anything_is_split_or_damaged(data: bytes) -> None:
    try:
        found = split(data)
    except DamagedChunkError:
        return
    assert sum(map(len, (each for _, each in found))) <= len(data)


def test_a_ring_that_there_is_not() -> None:
    with pytest.raises(DamagedChunkError):
        Merge(1, NOTHING).add(chunk(1, 1), 0, b"", 1)
