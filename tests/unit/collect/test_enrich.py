"""Lookups in, descriptions out: a thread, a real socket, real time."""

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.unixctl_server import Answer, Server, serve
from retis_py.collect.enrich import LAST_CHANCE, FlowEnricher
from retis_py.collect.flow_questions import WAITING_LIMIT, FlowQuestions
from retis_py.events.event import Event
from retis_py.events.sections.common import Common
from retis_py.events.sections.ovs import FlowLookup, UpcallReturn
from retis_py.events.sections.ovs_detrace import Ufid
from retis_py.kernel.vswitchd import ControlSocket, Vswitchd

FAST = 1000


def lookup(number: int, flow: int = 100, sf_acts: int = 200) -> Event:
    found = FlowLookup(flow, sf_acts, Ufid(number, 0, 0, 0), 1, 0, "", [])
    return Event(Common(timestamp=1), ovs=found)


@contextmanager
def enriching(
    rate: int = FAST,
    flow: Answer = "in_port(1)",
    rules: Answer = "rule",
    last_chance: float = 0.4,
) -> Iterator[tuple[FlowEnricher, Server]]:
    with tempfile.TemporaryDirectory(prefix="retis-", dir="/tmp") as folder:
        path = Path(folder) / "d.ctl"
        commands = "dpctl/get-flow ofproto/detrace"
        answers = {"list-commands": commands, "dpctl/get-flow": flow, "ofproto/detrace": rules}
        with serve(path, answers) as server:
            questions = FlowQuestions(rate, lambda: [ControlSocket(path, None, "it")], Vswitchd)
            enricher = FlowEnricher(questions, last_chance)
            enricher.start()
            yield enricher, server


def polled(enricher: FlowEnricher, count: int) -> list[Event]:
    events: list[Event] = []
    end = time.monotonic() + 10
    while len(events) < count and time.monotonic() < end:
        events += enricher.poll()
        time.sleep(0.005)
    return events


def asked(server: Server) -> int:
    return sum(method == "dpctl/get-flow" for method, *_ in server.requests)


def test_each_flow_is_asked_for_once() -> None:
    before = time.monotonic_ns()
    with enriching() as (enricher, server):
        for _ in range(3):
            for number in (1, 2):
                enricher.see(lookup(number))
        events = polled(enricher, 2)
        enricher.see(lookup(1))
        events += enricher.finish()
        assert asked(server) == 2
    assert [event.ovs_detrace.ufid.a for event in events if event.ovs_detrace] == [1, 2]
    assert all(event.to_dict().keys() == {"common", "ovs-detrace"} for event in events)
    assert all(before < event.common.timestamp <= time.monotonic_ns() for event in events)


def test_flow_that_is_another_now() -> None:
    """The same match at another address, or with other actions."""
    with enriching() as (enricher, server):
        for event in (lookup(1), lookup(1, flow=101), lookup(1, sf_acts=201)):
            enricher.see(event)
        assert len(polled(enricher, 3)) == 3
        enricher.finish()
        assert asked(server) == 3


def test_what_is_no_hit() -> None:
    with enriching() as (enricher, server):
        enricher.see(lookup(1, flow=0))  # none was found
        enricher.see(Event(Common(timestamp=1), ovs=UpcallReturn(1, 2, 0)))
        enricher.see(Event(Common(timestamp=1)))
        assert enricher.finish() == []
        assert asked(server) == 0


def test_neither_seeing_nor_polling_waits() -> None:
    def slow(*_: str) -> str:
        time.sleep(0.3)
        return "in_port(1)"

    with enriching(flow=slow) as (enricher, _):
        started = time.monotonic()
        for number in range(5 * WAITING_LIMIT):
            enricher.see(lookup(number))
            enricher.poll()
        assert time.monotonic() - started < WAITING_LIMIT * 0.3 / 10
        enricher.finish()


def test_the_end_waits_for_what_can_be_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with enriching(rate=20, last_chance=LAST_CHANCE) as (enricher, server):
        for number in range(100):
            enricher.see(lookup(number))
        started = time.monotonic()
        events = enricher.finish()
        took = time.monotonic() - started
        assert LAST_CHANCE - 0.1 < took < 4  # s, of 5 that all would take
        assert len(server.requests) <= 20 * took + 1
        assert len(events) >= 10
        count = f"{len(events)} flow(s) of Open vSwitch described; {100 - len(events)} not asked"
    [record] = [r for r in caplog.records if "described" in r.getMessage()]
    assert record.getMessage().startswith(count)
    assert record.levelno == logging.WARNING


def test_the_end_does_not_wait_for_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with enriching(last_chance=60) as (enricher, _), caplog.at_level(logging.INFO):
        enricher.see(lookup(1))
        assert len(polled(enricher, 1)) == 1
        started = time.monotonic()
        assert enricher.finish() == []
        assert time.monotonic() - started < 30
    assert caplog.records[-1].getMessage() == "1 flow(s) of Open vSwitch described"
    assert caplog.records[-1].levelno == logging.INFO


def test_a_collection_that_ends_at_once() -> None:
    """Before the thread has looked for daemons."""
    with enriching() as (enricher, _):
        enricher.see(lookup(1))
        assert len(enricher.finish()) == 1


def test_rules_that_come_too_late() -> None:
    """At the end the flow is told without them."""
    with enriching(rules="Cache was not found for system@ovs-system") as (enricher, _):
        enricher.see(lookup(1))
        time.sleep(0.2)
        [event] = enricher.finish()
        assert event.ovs_detrace
        assert (event.ovs_detrace.dpflow, event.ovs_detrace.ofpflows) == ("in_port(1)", [])


def test_daemon_that_hangs_at_the_end() -> None:
    with enriching(flow=b"") as (enricher, server):
        enricher.see(lookup(1))
        while not asked(server):
            time.sleep(0.01)
        started = time.monotonic()
        assert enricher.finish() == []
        assert time.monotonic() - started < 4  # s, of 5 that a daemon may take


def test_more_than_can_wait(caplog: pytest.LogCaptureFixture) -> None:
    """They are counted, a flow once, unless they are asked for later."""
    with enriching(rate=1) as (enricher, _), caplog.at_level(logging.INFO):
        for number in range(WAITING_LIMIT + 500):
            enricher.see(lookup(number))
            enricher.see(lookup(number))
        enricher.finish()
    said = caplog.records[-1].getMessage()
    refused = int(said.split("; ")[1].split()[0])
    assert 490 <= refused <= 500
    assert f"not asked for, since {WAITING_LIMIT:,} others waited" in said
