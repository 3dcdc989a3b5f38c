"""Perf buffers, filled by the kernel on each CPU and drained here."""

import os
import struct
from collections.abc import Iterator

import pytest

from lab.capabilities import require
from retis_py.collect.compiled import Compiled
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.perfbuffer import perf_buffers
from retis_py.collect.ring import RecordSource
from retis_py.kernel.host import Host
from unit.collect.running import Runner, compile_text, drain

TEXT = """
#include <linux/types.h>
#include <bcc/helpers.h>
struct record { u64 time; u64 number; u8 rest[40]; };
BPF_PERF_OUTPUT(events);
int produce(struct bpf_raw_tracepoint_args *ctx)
{
	struct record r = { .time = bpf_ktime_get_ns(), .number = ctx->args[0] };
	u64 length = ctx->args[1];

	if (length < 16 || length > sizeof(r))
		length = sizeof(r);
	return events.perf_submit(ctx, &r, length) != 0;
}
"""


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    require("root")
    return compile_text(TEXT, ["produce"])


Buffers = tuple[list[RecordSource], Runner]


@pytest.fixture
def buffers(compiled: Compiled, open_descriptors: None) -> Iterator[Buffers]:
    host = Host()
    with Loader(compiled, {"events": host.highest_cpu + 1}) as loader:
        produce = Runner(loader.load("produce", ProgramType.RAW_TRACEPOINT))
        cpus = host.online_cpu_numbers
        perf = perf_buffers(loader.maps["events"], len(cpus) << 14, cpus)
        yield perf, produce
        for buffer in perf:
            buffer.close()


def drain_all(perf: list[RecordSource]) -> list[bytes]:
    """The records of all CPUs, in the order of their times."""
    records = [record for buffer in perf for record in drain(buffer)]
    return sorted(records, key=lambda record: int.from_bytes(record[:8], "little"))


def numbers(records: list[bytes]) -> list[int]:
    return [struct.unpack_from("=QQ", record)[1] for record in records]


def test_in_order_and_once(buffers: Buffers) -> None:
    perf, produce = buffers
    assert drain_all(perf) == []
    for number in range(100):
        assert produce(number) == 0
    assert numbers(drain_all(perf)) == list(range(100))
    assert drain_all(perf) == []


def test_lengths(buffers: Buffers) -> None:
    """The kernel pads to 8 bytes behind a length of 4, so up to 7 bytes may follow."""
    perf, produce = buffers
    for length in range(16, 57):
        produce(length, length)
    for record, length in zip(drain_all(perf), range(16, 57), strict=True):
        assert length <= len(record) < length + 8


def test_wrap_around(buffers: Buffers) -> None:
    perf, produce = buffers
    found, made = [], 0
    for _ in range(40):
        for _ in range(100):
            assert produce(made, 16 + made % 41) == 0
            made += 1
        found += numbers(drain_all(perf))
    assert found == list(range(made))


def test_order_over_all_cpus(buffers: Buffers) -> None:
    perf, produce = buffers
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one CPU only")
    try:
        for number in range(60):
            os.sched_setaffinity(0, {sorted(before)[number % 2]})
            produce(number)
    finally:
        os.sched_setaffinity(0, before)
    assert numbers(drain_all(perf)) == list(range(60))


def test_full_and_empty_again(buffers: Buffers) -> None:
    perf, produce = buffers
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        made = 0
        while produce(made) == 0:
            made += 1
        produce(made)
        assert numbers(drain_all(perf)) == list(range(made))
        # A record of the kernel's own comes first, that says how many were lost.
        assert produce(7) == 0
        assert numbers(drain_all(perf)) == [7]
    finally:
        os.sched_setaffinity(0, before)
