import json
from typing import Any

import pytest

from interop.event_strategies import FULL
from retis_py.events.event import Event, decode, encode
from retis_py.process.select import Selection
from retis_py.process.slim import slim_decoder, slim_series_decoder
from retis_py.process.where import compile_where


def event(**sections: Any) -> Event:
    return decode(json.dumps({"common": {"timestamp": 5}, **sections}))


PACKET = {"len": 60, "capture_len": 2, "data": "QUI="}
ETH0 = event(dev={"name": "eth0", "ifindex": 3}, packet=PACKET)
ETH1 = event(dev={"name": "eth1", "ifindex": 4}, packet=PACKET)
BARE = event(dev={"name": "eth0", "ifindex": 3})


def test_nothing_asked_for_selects_all() -> None:
    selection = Selection()
    assert not selection
    assert selection.sections == set()
    assert all(map(selection.matches, (ETH0, ETH1, BARE)))
    assert not selection.matches_series([])


def test_fields() -> None:
    selection = Selection(where=compile_where('dev.name == "eth0"'))
    assert selection
    assert selection.sections == {"dev"}
    assert [selection.matches(e) for e in (ETH0, ETH1, BARE)] == [True, False, True]


def test_packets() -> None:
    seen = []

    def longer_than_a_frame(data: bytes, wire_len: int) -> bool:
        seen.append((data, wire_len))
        return wire_len > 59

    selection = Selection(packet_filter=longer_than_a_frame)
    assert selection
    assert selection.sections == {"packet"}
    assert [selection.matches(e) for e in (ETH0, BARE)] == [True, False]
    assert seen == [(b"AB", 60)]


def test_both_must_match() -> None:
    where = compile_where('dev.name == "eth0"')
    assert Selection(lambda *_: True, where).sections == {"dev", "packet"}
    answers = {
        (name, found): Selection(lambda *_, found=found: found, where).matches(e)
        for name, e in (("eth0", ETH0), ("eth1", ETH1), ("bare", BARE))
        for found in (True, False)
    }
    assert [key for key, matches in answers.items() if matches] == [("eth0", True)]


def test_a_series_is_selected_by_any_of_its_events() -> None:
    selection = Selection(where=compile_where('dev.name == "eth0"'))
    assert selection.matches_series([ETH1, ETH1, ETH0])
    assert not selection.matches_series([ETH1, ETH1])
    assert not selection.matches_series([])


def test_slim_events_are_judged_as_whole_ones() -> None:
    selection = Selection(
        lambda data, length: (data, length) == (b"AB", 60), compile_where("not skb-drop.subsys")
    )
    slim = slim_decoder(selection.sections)
    whole = decode(json.dumps(FULL))
    for each in (ETH0, BARE, whole):
        assert selection.matches(slim(encode(each))) == selection.matches(each)
    series = slim_series_decoder(selection.sections)(b"[%b,%b]" % (encode(BARE), encode(ETH0)))
    assert selection.matches_series(series)


def test_slim_events_have_the_sections_asked_for() -> None:
    line = json.dumps(FULL).encode()
    slim = slim_decoder({"skb_drop", "ovs"})(line)
    assert slim.__struct_fields__ == ("common", "skb_drop", "ovs")
    whole = decode(line)
    assert (slim.skb_drop, slim.ovs) == (whole.skb_drop, whole.ovs)
    assert slim_decoder({"common"})(line).common == whole.common
    nothing = slim_decoder({"dev"})(b'{"common":{"timestamp":1}}')
    assert nothing.dev is None


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Selection().where = compile_where("dev")  # type: ignore[misc]
