"""The spool: what is written, what there is no room for, what is given back, what is left."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect.drain import Drainer
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.losses import LossCause
from retis_py.collect.merge import split
from retis_py.collect.plan import Plan
from retis_py.collect.spool import CHUNK_LIMIT, NoRoomError, Spool, create_spool
from retis_py.collect.spool_format import FIRST_CHUNK, PAGE, Decoded
from retis_py.collect.spool_reader import OpenSpool, chunk_at, content_of
from retis_py.errors import RetisError
from retis_py.kernel.libc import punch_hole
from unit.collect.spools import Ring, new_spool, record

PLENTY = 100 << 20


def records(spool: Spool) -> list[bytes]:
    """The records in a spool, in its order."""
    found, at = [], FIRST_CHUNK
    while placed := chunk_at(spool.descriptor, at, spool.control.committed):
        if placed.chunk.kind == 2:
            content = content_of(spool.descriptor, placed)
            assert len(split(content)) == placed.chunk.records
            found += [each for _, each in split(content)]
        at = placed.end
    assert at == spool.control.committed
    return found


def drainer(spool: Spool, *rings: Ring) -> Drainer:
    return Drainer(spool, rings, 1 << 20, KnownProbes(()))


def some(count: int, start: int = 0, size: int = 200) -> list[bytes]:
    return [record(n, n, bytes(size)) for n in range(start, start + count)]


def test_what_is_in_the_ring_gets_there(tmp_path: Path) -> None:
    with create_spool(tmp_path / "out", PLENTY) as spool:
        one, other = Ring(some(10)), Ring(some(5, 10))
        drain = drainer(spool, one, other)
        assert drain.round() == 15
        assert one.data == other.data == b""
        one.add(*some(3, 15))
        assert drain.round() == 3
        assert drain.round() == 0
        assert records(spool) == some(18)
        assert spool.control.received == 18
        assert drain.wait > 0.001


def test_large_rounds_are_several_chunks(tmp_path: Path) -> None:
    with create_spool(tmp_path / "out", PLENTY) as spool:
        many = some(20_000)
        assert drainer(spool, Ring(many)).round() == 20_000
        assert records(spool) == many
        assert spool.control.committed > 4 * CHUNK_LIMIT


def test_a_record_that_is_being_written_stays(tmp_path: Path) -> None:
    with create_spool(tmp_path / "out", PLENTY) as spool:
        ring = Ring(some(2), busy=True)
        drain = drainer(spool, ring)
        drain.round()
        assert spool.control.clear_until == 0
        ring.busy = False
        ring.add(*some(1, 2))
        drain.round()
        assert spool.control.clear_until > 0
        assert records(spool) == some(3)


def test_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is taken from the ring that does not fit; it goes on when there is room."""
    with create_spool(tmp_path / "out", 64 << 10) as spool:
        ring = Ring(some(1000))
        drain = drainer(spool, ring)
        first = drain.round()
        assert 0 < first < 1000
        assert drain.blocked
        assert drain.round() == 0
        assert spool.waiting <= 64 << 10
        assert len(split(ring.data)) == 1000 - first
        spool.control.freed += 32 << 10
        second = drain.round()
        assert second > 0
        assert records(spool) == some(first + second)
        [said] = [each.getMessage() for each in caplog.records]
        assert "its limit is reached" in said
        assert "--spool-limit" in said
        losses = drain.give_up()
        assert sum(losses.values()) == 1000 - first - second
        assert {cause for _, cause in losses} == {LossCause.SPOOL_FULL}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    require("root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk(tiny_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel writes a part of what it is given: whole records of that are kept."""
    with create_spool(tiny_disk / "out", PLENTY) as spool:
        assert spool.path is not None
        ring = Ring(some(2000))
        drain = drainer(spool, ring)
        first = drain.round()
        assert 256 * 1024 / 264 > first > 200 * 1024 / 264
        assert drain.blocked
        assert drain.round() == 0
        assert len(split(ring.data)) == 2000 - first
        assert "No space left on device" in caplog.text
        punch_hole(spool.descriptor, FIRST_CHUNK, 16 * PAGE)  # as the decoder does
        spool.control.freed += 16 * PAGE
        end = spool.control.committed
        second = drain.round()
        assert second > 0
        placed = chunk_at(spool.descriptor, end, spool.control.committed)
        assert placed is not None
        added = [each for _, each in split(content_of(spool.descriptor, placed))]
        assert added == some(second, first)


def test_no_room_for_a_description(tiny_disk: Path) -> None:
    with create_spool(tiny_disk / "out", PLENTY) as spool:
        with suppress(OSError), (tiny_disk / "more").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        known = KnownProbes(())
        known.programs = dict.fromkeys(range(1000), "x" * 20)
        with pytest.raises(NoRoomError):
            spool.describe(known.describe())
        assert spool.control.committed == FIRST_CHUNK


# The file


def test_mode_and_end(tmp_path: Path) -> None:
    with create_spool(tmp_path / "out", None) as spool:
        assert spool.path == tmp_path / "out.spool"
        assert spool.path.stat().st_mode & 0o777 == 0o600
        assert 1 << 20 <= spool.limit <= 1 << 30
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", [None, Path("/dev/null"), Path("/dev/full"), Path("/no/where")])
def test_without_a_name(output: Path | None) -> None:
    with create_spool(output, PLENTY) as spool:
        assert spool.path is None
        assert os.fstat(spool.descriptor).st_nlink == 0
        assert drainer(spool, Ring(some(3))).round() == 3
        assert records(spool) == some(3)


def test_hardly_any_room_beside(tiny_disk: Path) -> None:
    with create_spool(tiny_disk / "out", None) as spool:
        assert spool.path is None


def test_one_that_holds_events_is_not_replaced(tmp_path: Path, full_plan: Plan) -> None:
    with new_spool(tmp_path / "out", full_plan, 1) as spool:
        drainer(spool, Ring(some(3))).round()
        spool.keep()
        with pytest.raises(RetisError, match="in use by a collection that still runs"):
            create_spool(tmp_path / "out", None)
    with pytest.raises(RetisError, match=r"holds 3 event\(s\) .*'retis print .*out\.spool'"):
        create_spool(tmp_path / "out", None)
    assert (tmp_path / "out.spool").exists()


def test_one_without_events_is_replaced(tmp_path: Path, full_plan: Plan) -> None:
    with new_spool(tmp_path / "out", full_plan, 1) as spool:
        drainer(spool, Ring(some(3))).round()
        end = spool.control.committed
        spool.control.set_decoded(Decoded(end, end, 100))
        spool.keep()
    with create_spool(tmp_path / "out", None) as spool:
        assert spool.path is not None
        assert records(spool) == []


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.spool").write_text("precious" * 1000)
    with pytest.raises(RetisError, match="is no spool of a collection; move it away"):
        create_spool(tmp_path / "out", None)
    (tmp_path / "other.spool").symlink_to(tmp_path / "out.spool")
    with pytest.raises(RetisError, match="is no spool of a collection"):
        create_spool(tmp_path / "other", None)
    assert (tmp_path / "out.spool").read_text() == "precious" * 1000


def test_how_many_are_left(tmp_path: Path, full_plan: Plan) -> None:
    with new_spool(tmp_path / "out", full_plan, 1) as spool:
        ring = Ring(some(100))
        drain = drainer(spool, ring)
        drain.round()
        middle = spool.control.committed
        ring.add(*some(50, 100))
        drain.round()
        spool.control.set_decoded(Decoded(FIRST_CHUNK, middle, 30))
        spool.keep()
    with OpenSpool(tmp_path / "out.spool") as left:
        assert left.unread_records() == 120
