"""Decoding with helpers: the same file as without, and the same words about what goes wrong."""

import os
import re
import signal
import struct
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.netns import wait_until
from lab.spooled import children_of, is_gone
from retis_py.collect.channel import Cancel, Done, Enough
from retis_py.collect.plan import Plan
from retis_py.collect.spool_format import DescribedProbe, Description
from retis_py.collect.spool_reader import OpenSpool
from retis_py.errors import RetisError
from retis_py.events.wire import HEADER
from retis_py.probes.probe import ProbeType
from unit.collect.decoders import Decoder, decoding
from unit.collect.spools import record

FUNCTION = 0xFFFFFFFF81000000
_HEADER = struct.Struct("=" + HEADER.format)
BATCH = 2000  # records that are decoded at once

Step = int | str
"""So many records come, or a function has another name from now on."""


def function_record(number: int) -> bytes:
    kind = ProbeType.KPROBE.number
    return _HEADER.pack(number, FUNCTION, 0, 0, number, number, 0, 0, kind, b"task")


def fill(decoder: Decoder, steps: Sequence[Step], begin: int = 1) -> int:
    """Put these into the spool; return how many records there are."""
    for step in steps:
        if isinstance(step, str):
            decoder.spool.describe(Description([DescribedProbe("kprobe", step, FUNCTION)]))
            continue
        decoder.ring.add(*[function_record(begin + number) for number in range(step)])
        decoder.drainer.round()
        begin += step
    return begin - 1


def outcome(plan: Plan, steps: Sequence[Step], **options: Any) -> bytes:
    """The file that is made of what is in the spool before decoding begins."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        with decoding(path, plan, started=False, **options) as decoder:
            count = fill(decoder, ["first", *steps])
            decoder.start()
            decoder.finish()
            assert decoder.spool.control.events == count
        return path.read_bytes()


def names(lines: bytes) -> list[bytes]:
    return re.findall(rb'"symbol":"(\w+)"', lines)


STEPS = st.lists(
    st.one_of(st.sampled_from([1, 999, 2000, 4001, 6000]), st.sampled_from(["a", "b", "c"])),
    max_size=5,
)


def test_same_as_without(full_plan: Plan) -> None:
    @settings(max_examples=25, deadline=None)
    @given(steps=STEPS, helpers=st.integers(1, 4))
    def check(steps: list[Step], helpers: int) -> None:
        assert outcome(full_plan, steps, helpers=helpers) == outcome(full_plan, steps)

    check()


def test_what_becomes_known_between_batches(full_plan: Plan) -> None:
    """A description is read while helpers have what came before it."""
    steps: list[Step] = [*[1000] * 8, "second", *[1000] * 8, "third", 9000]
    lines = outcome(full_plan, steps, helpers=2)
    assert lines == outcome(full_plan, steps)
    told = names(lines)
    assert len(told) == 25_000
    order = sorted(told, key=[b"first", b"second", b"third"].index)
    assert told == order
    assert all(told.count(name) > BATCH for name in set(told))
    assert len(set(told)) == 3


def helpers_of(decoder: Decoder) -> list[int]:
    return children_of(decoder.process._pid)


def test_none_as_long_as_they_are_not_needed(tmp_path: Path, full_plan: Plan) -> None:
    with decoding(tmp_path / "out", full_plan, helpers=2) as decoder:
        decoder.add(*range(1, 1000))
        wait_until(lambda: decoder.lines == 999, "lines")
        assert not helpers_of(decoder)
        decoder.add(*range(1000, 10_000))
        wait_until(lambda: decoder.lines == 9999, "lines")
        helpers = helpers_of(decoder)
        assert len(helpers) == 2
        decoder.add(*range(10_000, 20_000))
        wait_until(lambda: decoder.lines == 19_999, "lines")
        assert helpers_of(decoder) == helpers
        decoder.finish()
        assert decoder.spool.control.decoded.unread == decoder.spool.control.committed
    assert not any(Path(f"/proc/{pid}").exists() for pid in helpers)


@pytest.mark.parametrize("limit", [1, 2000, 2001, 6500, 9999])
def test_limit(tmp_path: Path, full_plan: Plan, limit: int) -> None:
    options = {"helpers": 3, "limit": limit}
    with decoding(tmp_path / "out", full_plan, started=False, **options) as decoder:
        decoder.add(*range(1, 10_000))
        decoder.start()
        assert isinstance(decoder.process.receive(10), Enough)
        assert isinstance(decoder.process.receive(10), Done)
        assert decoder.spool.control.events == limit
    assert decoder.lines == limit


def test_cancelled(tmp_path: Path, full_plan: Plan) -> None:
    """What helpers have is not in the file, and stays in the spool."""
    path = tmp_path / "out"
    with decoding(path, full_plan, started=False, helpers=3) as decoder:
        for step in range(10):
            decoder.add(*range(step * 10_000 + 1, step * 10_000 + 10_001))
        decoder.start()
        wait_until(lambda: len(helpers_of(decoder)) == 3, "helpers")
        decoder.process.channel.send(Cancel())
        decoder.finish()
        events = decoder.spool.control.events
        assert 0 < events == decoder.lines < 100_000
        decoder.spool.keep()
    assert unread(path) == 100_000 - events


def wrong_record(time: int, number: int) -> bytes:
    """One of a probe that there is not."""
    made = bytearray(record(time, number))
    made[8] = 99
    return bytes(made)


@pytest.mark.parametrize("at", [100, 2000, 5000, 5999, 9999])
def test_damaged_record(tmp_path: Path, full_plan: Plan, at: int) -> None:
    """All before it are in the file, none behind it; the rest stays in the spool."""
    words = []
    for helpers in (0, 3):
        path = tmp_path / f"out{helpers}"
        options = {"started": False, "helpers": helpers}
        with decoding(path, full_plan, **options) as decoder:
            for number in range(10_000):
                made = wrong_record if number == at else record
                decoder.ring.add(made(number + 1, number + 1))
            decoder.drainer.round()
            decoder.start()
            with pytest.raises(Exception, match="a probe that is not attached") as error:
                decoder.process.receive(10)
            decoder.process.close()
            words.append((str(error.value), path.read_bytes(), decoder.spool.control.events))
            assert decoder.spool.control.events == at // BATCH * BATCH
            decoder.spool.keep()
        assert unread(path) == 10_000 - at // BATCH * BATCH
    assert words[0] == words[1]


def unread(path: Path) -> int:
    with OpenSpool(path.with_name(path.name + ".spool")) as left:
        return left.unread_records()


def test_a_helper_is_killed(tmp_path: Path, full_plan: Plan) -> None:
    """Whatever is not in the file is in the spool."""
    path = tmp_path / "out"
    with decoding(path, full_plan, helpers=2) as decoder:
        decoder.add(*range(1, 10_000))
        wait_until(lambda: decoder.lines == 9999, "lines")
        victim, other = helpers_of(decoder)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(RetisError, match=r"^a process that helps .* has ended by SIGKILL;"):
            for step in range(1, 1000):
                decoder.add(*range(step * 10_000, step * 10_000 + 10_000))
                decoder.process.receive(0.01)
        decoder.process.close()
        received, events = decoder.spool.control.received, decoder.spool.control.events
        assert events == decoder.lines
        decoder.spool.keep()
    assert unread(path) == received - events > 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in (victim, other))


def test_killed_with_its_helpers(tmp_path: Path, full_plan: Plan) -> None:
    """They end with it, and do not keep the spool locked."""
    path = tmp_path / "out"
    with decoding(path, full_plan, helpers=2) as decoder:
        decoder.add(*range(1, 10_000))
        wait_until(lambda: decoder.lines == 9999, "lines")
        helpers = helpers_of(decoder)
        for pid in helpers:
            os.kill(pid, signal.SIGSTOP)
        decoder.add(*range(10_000, 20_000))
        wait_until(lambda: decoder.spool.control.decoded.parsed > 0, "reading")
        decoder.process.kill()
        decoder.process.close()
        decoder.spool.keep()
    # They are stopped, and still the spool is free: as it is when they end a little later.
    assert unread(path) == 10_000
    for pid in helpers:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: all(map(is_gone, helpers)), "the helpers' end")
