"""The process that decodes: what it hands on, when it stops, what it gives back."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lab.netns import wait_until
from retis_py.collect.channel import (
    Cancel,
    Channel,
    Done,
    Enough,
    Failed,
    Functions,
    Gone,
    channel_pair,
)
from retis_py.collect.decoder_process import DecoderBugError, DecoderKilledError, DecoderProcess
from retis_py.collect.plan import Plan
from retis_py.collect.spool import Spool
from retis_py.collect.spool_format import PAGE, DescribedProbe, Description
from retis_py.collect.spool_reader import OpenSpool
from retis_py.errors import EventFileError, UsageError
from unit.collect.decoders import decoding
from unit.collect.spools import record


def test_as_they_come(tmp_path: Path, full_plan: Plan) -> None:
    with decoding(tmp_path / "out", full_plan) as decoder:
        for step in range(1, 4):
            decoder.add(*range(step * 100, step * 100 + 50))
            wait_until(lambda step=step: decoder.lines == 50 * step, "lines")
        assert decoder.spool.control.events == 150
        decoder.finish()
    assert decoder.lines == 150
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_limit(tmp_path: Path, full_plan: Plan) -> None:
    with decoding(tmp_path / "out", full_plan, limit=2500) as decoder:
        decoder.add(*range(1, 10_000))
        assert isinstance(decoder.process.receive(10), Enough)
        assert isinstance(decoder.process.receive(10), Done)
    assert decoder.lines == 2500


def test_cancelled(tmp_path: Path, full_plan: Plan) -> None:
    with decoding(tmp_path / "out", full_plan) as decoder:
        decoder.add(*range(1, 100))
        wait_until(lambda: decoder.lines == 99, "lines")
        decoder.process.channel.send(Cancel())
        assert isinstance(decoder.process.receive(10), Done)
    assert decoder.lines == 99


def test_room_is_given_back(tmp_path: Path, full_plan: Plan) -> None:
    """To the page: what stays behind each time adds up, in a collection of days."""
    with decoding(tmp_path / "out", full_plan) as decoder:
        made = 0
        for _ in range(20):
            decoder.add(*range(made + 1, made + 10_001))
            made += 10_000
            wait_until(lambda made=made: decoder.lines == made, "lines")
        assert decoder.spool.control.committed > 12 << 20
        assert decoder.spool.waiting <= 2 << 20
        assert on_disk(decoder.spool) <= decoder.spool.waiting + 4 * PAGE
        decoder.finish()
    assert decoder.lines == made


def test_descriptions_are_not_given_back(tmp_path: Path, full_plan: Plan) -> None:
    """Whoever reads what a collection left behind needs all of them."""
    with decoding(tmp_path / "out", full_plan) as decoder:
        made, described = 0, []
        for step in range(1, 41):
            decoder.add(*range(made + 1, made + 2001 + step))
            made += 2000 + step
            described.append(Description([DescribedProbe("kprobe", "x" * step * 50, step)]))
            decoder.spool.describe(described[-1])
            wait_until(lambda made=made: decoder.lines == made, "lines")
        assert decoder.spool.control.freed > 4 << 20
        assert on_disk(decoder.spool) <= decoder.spool.waiting + (4 + 2 * len(described)) * PAGE
        copy = tmp_path / "copy"  # that one is in use
        shutil.copyfile(decoder.spool.path, copy)
        with OpenSpool(copy) as read:
            assert read.descriptions()[1:] == described
        decoder.finish()


def on_disk(spool: Spool) -> int:
    return os.fstat(spool.descriptor).st_blocks * 512


def test_a_record_that_is_none(tmp_path: Path, full_plan: Plan) -> None:
    """Those before it are in the file."""
    with decoding(tmp_path / "out", full_plan) as decoder:
        unknown = bytearray(record(50, 50))
        unknown[8] = 99  # the probe's number
        decoder.ring.add(record(1, 1), bytes(unknown), record(60, 60))
        decoder.drainer.round()
        with pytest.raises(Exception, match="a probe that is not attached"):
            decoder.process.receive(10)
    assert decoder.lines <= 1


# The process


def process(body: Callable[[Channel], int]) -> DecoderProcess:
    return DecoderProcess(body, [])


def test_errors_are_its_own() -> None:
    def fail(_: Channel) -> int:
        raise UsageError("no such thing")

    child = process(fail)
    with pytest.raises(UsageError, match=r"^no such thing$"):
        child.receive(10)
    child.close()


def test_written_comes_along() -> None:
    def fail(channel: Channel) -> int:
        channel.send(Failed("EventFileError", "disk full", 17))
        return 1

    child = process(fail)
    with pytest.raises(EventFileError, match=r"^disk full$"):
        child.receive(10)
    assert child.written == 17
    child.close()


def test_bugs_are_told_as_such() -> None:
    def fail(_: Channel) -> int:
        raise ZeroDivisionError("by zero")

    child = process(fail)
    with pytest.raises(DecoderBugError, match="ZeroDivisionError: by zero"):
        child.receive(10)
    child.close()


def test_killed() -> None:
    def wait(_: Channel) -> int:
        time.sleep(60)
        return 0

    child = process(wait)
    assert child.receive(0.01) is None
    child.kill()
    with pytest.raises(DecoderKilledError, match="ended by SIGKILL"):
        child.receive(10)
    child.close()


def test_no_descriptor_but_its_own(tmp_path: Path) -> None:
    def look(channel: Channel) -> int:
        names = []
        for path in list(Path("/proc/self/fd").iterdir()):
            with suppress(OSError):  # the one that listed them
                names.append(str(path.readlink()))
        channel.send(Functions([name for name in names if "held" in name]))
        return 0

    with (tmp_path / "held").open("w"):
        child = process(look)
        message = child.receive(10)
    assert message == Functions([])
    child.close()


def test_last_message_of_one_that_did_not_read_ours() -> None:
    one, other = channel_pair()
    one.send(Cancel())
    other.send(Done(7))
    other.close()
    with closing(one):
        assert one.receive(0) == Done(7)
        assert isinstance(one.receive(0), Gone)


def test_channel() -> None:
    one, other = channel_pair()
    one.send(Functions(["ip_rcv"] * 100))
    one.send(Cancel())
    assert other.receive(1) == Functions(["ip_rcv"] * 100)
    assert other.receive(1) == Cancel()
    assert other.receive(0) is None
    one.close()
    assert isinstance(other.receive(None), Gone)
    assert isinstance(other.receive(None), Gone)
    other.send(Done())  # nobody is there: no error
    other.close()
