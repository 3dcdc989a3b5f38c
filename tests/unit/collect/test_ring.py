"""The BPF ring buffer, filled by the kernel and drained here."""

import mmap
import os
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.capabilities import require
from retis_py.collect.compiled import Compiled, MapDefinition
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.maps import Map, MapType
from retis_py.collect.ring import RingBuffer
from unit.collect.running import Runner, compile_text, drain

SIZE = 1 << 16
PAGE = mmap.PAGESIZE
SUBMIT, DISCARD, OUTPUT = 0, 1, 2

# Makes a record that starts with the first argument's number, as the second one says how.
TEXT = """
#include <linux/types.h>
#include <bcc/helpers.h>
struct record { u64 number; u64 rest[28]; };
BPF_RINGBUF_OUTPUT(events, 8);
int produce(struct bpf_raw_tracepoint_args *ctx)
{
	u64 number = ctx->args[0], how = ctx->args[1], small = number;
	struct record *r;

	if (how == 2)
		return events.ringbuf_output(&small, sizeof(small), BPF_RB_NO_WAKEUP) != 0;
	r = events.ringbuf_reserve(sizeof(struct record));
	if (!r)
		return 1;
	r->number = number;
	r->rest[27] = ~number;
	if (how)
		events.ringbuf_discard(r, BPF_RB_NO_WAKEUP);
	else
		events.ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 0;
}
"""


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    require("root")
    return compile_text(TEXT, ["produce"])


@pytest.fixture
def ring(compiled: Compiled) -> Iterator[tuple[RingBuffer, Callable[..., int]]]:
    with Loader(compiled, {"events": SIZE}) as loader:
        produce = Runner(loader.load("produce", ProgramType.RAW_TRACEPOINT))
        buffer = RingBuffer(loader.maps["events"], SIZE)
        yield buffer, produce
        buffer.close()


Ring = tuple[RingBuffer, Runner]


def numbers(records: list[bytes]) -> list[int]:
    for record in records:
        if len(record) > 8:
            assert len(record) == 232
            number, last = struct.unpack_from("=Q216xQ", record)
            assert last == number ^ (2**64 - 1)
    return [struct.unpack_from("=Q", record)[0] for record in records]


def test_empty(ring: Ring) -> None:
    buffer, _ = ring
    assert drain(buffer) == []
    assert drain(buffer) == []


def test_in_order_and_once(ring: Ring) -> None:
    buffer, produce = ring
    for number in range(100):
        assert produce(number, SUBMIT) == 0
    assert numbers(drain(buffer)) == list(range(100))
    assert drain(buffer) == []


def test_wrap_around(ring: Ring) -> None:
    """Records of 16 and 240 bytes: the end of the ring falls into the middle of some."""
    buffer, produce = ring
    found, made = [], 0
    for _ in range(60):
        for _ in range(100):
            assert produce(made, OUTPUT if made % 3 == 0 else SUBMIT) == 0
            made += 1
        found += numbers(drain(buffer))
    assert found == list(range(made))
    assert made * 160 > 10 * SIZE


def test_discarded(ring: Ring) -> None:
    buffer, produce = ring
    for number in range(90):
        produce(number, DISCARD if number % 3 == 1 else SUBMIT)
    assert numbers(drain(buffer)) == [n for n in range(90) if n % 3 != 1]
    for number in range(500):  # more than fit, were they not taken out
        assert produce(number, DISCARD) == 0
        assert drain(buffer) == []


def test_full_and_empty_again(ring: Ring) -> None:
    buffer, produce = ring
    made = 0
    while produce(made, SUBMIT) == 0:
        made += 1
    assert SIZE // 240 - 1 <= made <= SIZE // 240
    assert produce(made, OUTPUT) in (0, 1)
    assert numbers(drain(buffer))[:made] == list(range(made))
    assert produce(7, SUBMIT) == 0
    assert numbers(drain(buffer)) == [7]


def test_limit(ring: Ring) -> None:
    buffer, produce = ring
    for number in range(100):
        produce(number, SUBMIT)
    first = numbers(drain(buffer, 2400))
    assert first == list(range(10))
    assert numbers(drain(buffer, 2399 + 240)) == list(range(10, 20))
    assert numbers(drain(buffer, 239)) == []
    assert buffer.peek(239).limited
    assert not buffer.peek(100 * 240).limited
    assert numbers(drain(buffer)) == list(range(20, 100))


def test_while_a_producer_runs(ring: Ring) -> None:
    buffer, produce = ring
    count, lost = 20_000, []

    def run() -> None:
        lost.extend(n for n in range(count) if produce(n, SUBMIT))

    producer = threading.Thread(target=run)
    producer.start()
    found: list[int] = []
    while producer.is_alive():
        found += numbers(drain(buffer))
    producer.join()
    found += numbers(drain(buffer))
    assert found == sorted(set(range(count)) - set(lost))
    assert found


@pytest.mark.usefixtures("open_descriptors")
def test_close_gives_all_back(compiled: Compiled) -> None:
    with Loader(compiled, {"events": SIZE}) as loader:
        buffer = RingBuffer(loader.maps["events"], SIZE)
        drain(buffer)
        buffer.close()


# A ring of our own making, for states that the kernel is in for some instructions only

HEADER = struct.Struct("=II")
BUSY, DISCARDED = 1 << 31, 1 << 30


class Made:
    """Memory laid out as the kernel's ring, of one page."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * PAGE)
        self.produced = 0

    def add(self, payload: bytes, flags: int = 0) -> int:
        """Write a record where the kernel would, and return where that is."""
        where = self.produced
        data = HEADER.pack(len(payload) | flags, 0) + payload
        data += bytes(-len(data) % 8)
        for offset, byte in enumerate(data):
            # Twice, as the pages are mapped twice.
            for copy in (0, PAGE):
                at = (where + offset) % PAGE + copy
                os.pwrite(self.fd, bytes([byte]), 2 * PAGE + at)
        self.produced += len(data)
        os.pwrite(self.fd, struct.pack("=Q", self.produced), PAGE)
        return where

    def commit(self, where: int, length: int) -> None:
        for copy in (0, PAGE):
            os.pwrite(self.fd, struct.pack("=I", length), 2 * PAGE + where % PAGE + copy)

    def consumed(self) -> int:
        return int(struct.unpack("=Q", os.pread(self.fd, 8, 0))[0])

    def open(self) -> RingBuffer:
        definition = MapDefinition("events", MapType.RINGBUF, 0, 0, PAGE, 0)
        return RingBuffer(Map(definition, self.fd), PAGE)


@pytest.fixture
def made() -> Iterator[Made]:
    ring = Made()
    yield ring
    os.close(ring.fd)


def test_busy_records_hold_up_those_behind_them(made: Made) -> None:
    buffer = made.open()
    made.add(b"first")
    where = made.add(b"second", BUSY)
    made.add(b"third")
    assert drain(buffer) == [b"first"]
    assert made.consumed() == 16
    assert drain(buffer) == []
    batch = buffer.peek(1 << 20)
    assert (batch.complete, batch.limited) == (False, False)
    del batch
    made.commit(where, len(b"second"))
    assert drain(buffer) == [b"second", b"third"]
    assert made.consumed() == made.produced
    buffer.close()


def test_busy_and_then_discarded(made: Made) -> None:
    buffer = made.open()
    where = made.add(b"x" * 20, BUSY)
    assert drain(buffer) == []
    made.commit(where, 20 | DISCARDED)
    made.add(b"y")
    assert drain(buffer) == [b"y"]
    buffer.close()


STEP = st.tuples(st.binary(max_size=300), st.sampled_from([0, 0, DISCARDED]), st.booleans())


@settings(max_examples=25, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_any_records(steps: list[tuple[bytes, int, bool]]) -> None:
    """What goes in comes out, whenever it is looked at, around the end of the ring too."""
    made = Made()
    buffer = made.open()
    expected, found = [], []
    for payload, flags, look in steps:
        if made.produced + 8 + len(payload) + 7 - made.consumed() > PAGE:
            found += drain(buffer)
        made.add(payload, flags)
        expected += [payload] * (not flags)
        found += drain(buffer) if look else []
    found += drain(buffer)
    buffer.close()
    os.close(made.fd)
    assert found == expected
