"""Entries of real maps: old ones go and are counted, others stay."""

import struct
import time

import pytest

from lab import capabilities
from retis_py.collect.compiled import Compiled, MapDefinition
from retis_py.collect.loader import Loader
from retis_py.collect.maps import MapType
from retis_py.collect.stale import StaleEntries

SECOND = 1_000_000_000
MAPS = [
    MapDefinition("tracked_packets", MapType.HASH, 8, 24, 10_000, 0),
    MapDefinition("calls", MapType.HASH, 16, 56, 100, 0),
]


def tracked(last_seen: int) -> bytes:
    """``struct tracked``: when first seen does not matter."""
    return struct.pack("=QQQ", 1, 2, last_seen)


def call(entered: int) -> bytes:
    return struct.pack("=Q48x", entered)


@pytest.fixture(name="loader")
def made_loader() -> Loader:
    capabilities.require("root")
    return Loader(Compiled({}, MAPS), {})


def test_old_entries_go_and_are_counted(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic_ns()
    with loader:
        packets, calls = loader.maps["tracked_packets"], loader.maps["calls"]
        # More than one system call fetches.
        for number in range(6000):
            packets.update(struct.pack("=Q", number), tracked(now - 61 * SECOND))
        packets.update(struct.pack("=Q", 7000), tracked(now))
        calls.update(struct.pack("=QQ", 1, 1), call(now - 70 * SECOND))
        calls.update(struct.pack("=QQ", 2, 2), call(now - 10 * SECOND))

        stale = StaleEntries(loader.maps)
        stale.collect_if_due()
        assert not stale.counts  # it is not time yet
        monkeypatch.setattr(stale, "_next", 0.0)
        stale.collect_if_due()

        assert stale.counts == {
            "packet(s) not seen for 60 s": 6000,
            "call(s) that did not return within 60 s": 1,
        }
        assert [key for key, _ in packets.entries()] == [struct.pack("=Q", 7000)]
        assert [key for key, _ in calls.entries()] == [struct.pack("=QQ", 2, 2)]


def test_what_did_not_come_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of things that keep an order, when they are old and at the end."""
    capabilities.require("root")
    queued = MapDefinition("ovs_queued", MapType.HASH, 4, 16, 100, 0)
    what = "upcall(s) that user space did not receive"
    with Loader(Compiled({}, [queued]), {}) as loader:
        entries = loader.maps["ovs_queued"]
        now = time.monotonic_ns()
        for number, (age, went_in, came_out) in enumerate(
            [(70, 5, 2), (70, 4, 4), (1, 0, 2**32 - 1), (1, 9, 9)]
        ):
            value = struct.pack("=QII", now - age * SECOND, went_in, came_out)
            entries.update(struct.pack("=I", number), value)
        stale = StaleEntries(loader.maps)
        monkeypatch.setattr(stale, "_next", 0.0)
        stale.collect_if_due()
        assert len(list(entries.items())) == 2
        assert stale.counts == {what: 3}
        stale.count_rest()
        assert stale.counts == {what: 4}
