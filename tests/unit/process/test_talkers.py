"""Who talks most, within bounded memory."""

import pytest

from retis_py.process import talkers as module
from retis_py.process.conversation import Conversation
from retis_py.process.talkers import Talkers


def between(one: int, other: int) -> Conversation:
    return one.to_bytes(4), other.to_bytes(4)


def test_a_packet_counts_once_with_its_first_length() -> None:
    talkers = Talkers()
    talkers.add([((1, 1), 100, between(1, 2)), ((1, 2), 10, between(1, 2))])
    talkers.add([((1, 1), 86, between(1, 2)), ((2, 1), 1, between(1, 2))])
    ((_, traffic),) = talkers.by_bytes(5)
    assert (traffic.packets, traffic.bytes) == (3, 111)
    assert talkers.total == traffic


def test_packets_without_tracking_id_count_each_time() -> None:
    talkers = Talkers()
    talkers.add([(None, 100, between(1, 2)), (None, 100, None)])
    assert (talkers.total.packets, talkers.total.bytes) == (2, 200)
    assert len(talkers) == 1


def test_order() -> None:
    talkers = Talkers()
    talkers.add([(None, 10, between(1, 2))] * 3 + [(None, 1000, between(1, 3))])
    assert [each for each, _ in talkers.by_bytes(2)] == [between(1, 3), between(1, 2)]
    assert [each for each, _ in talkers.by_packets(1)] == [between(1, 2)]


def test_old_packets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 4)
    talkers = Talkers()
    talkers.add(((number, 0), 1, None) for number in range(8))
    talkers.add([((4, 0), 1, None)])
    assert talkers.total.packets == 8
    talkers.add([((0, 0), 1, None)])
    assert talkers.total.packets == 9


def test_small_conversations_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD", 16)
    talkers = Talkers()
    talkers.add([(None, 1, between(0, 1))] * 5)
    talkers.add([(None, 1 << 30, between(0, 2))])
    before = talkers.complete
    talkers.add((None, 2, between(1, number)) for number in range(100))
    assert (before, talkers.complete) == (True, False)
    assert len(talkers) <= 16
    assert talkers.total.packets == 106
    assert talkers.by_packets(1)[0][0] == between(0, 1)
    assert talkers.by_bytes(1)[0][0] == between(0, 2)
