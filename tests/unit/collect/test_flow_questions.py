"""Which daemon is asked what, when, and how often: real sockets, a clock of the test."""

import itertools
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import capabilities
from lab.unixctl_server import Answer, Refused, Server, serve
from retis_py.collect.flow_questions import RETRIES, WAITING_LIMIT, FlowKey, FlowQuestions
from retis_py.events.sections.ovs_detrace import OvsDetrace, Ufid, ufid_text
from retis_py.kernel.vswitchd import ControlSocket, Vswitchd

COMMANDS = "dpctl/get-flow [dp] ufid\n ofproto/detrace UFID"
OLD_COMMANDS = "dpctl/get-flow [dp] ufid"
LATER = "Cache was not found for system@ovs-system\n"
GONE = Refused("getting flow (No such file or directory)")


def key(number: int = 1) -> FlowKey:
    return FlowKey(Ufid(number, 2, 3, 4), 100 + number, 200 + number)


class Lab:
    """Questions whose daemons are those that listen in a folder, in the order of their names."""

    def __init__(self, folder: Path, rate: int = 10) -> None:
        self.folder = folder
        self.now = 1000.0
        self.looks = 0
        self.questions = FlowQuestions(
            rate,
            self.find,
            lambda where: Vswitchd(where, time_limit=0.1),
            lambda: self.now,
        )

    def find(self) -> list[ControlSocket]:
        self.looks += 1
        return [
            ControlSocket(path, None, path.stem)
            for path in sorted(self.folder.iterdir())
            if path.is_socket()
        ]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.ctl"

    def run(self, seconds: float) -> list[float]:
        """Step for so long; when something was asked or looked for."""
        end = self.now + seconds
        times = []
        while self.now < end:
            times.append(self.now)
            delay = self.questions.step()
            self.now = min(end, self.now + delay) if delay > 0 else self.now
        return times

    def answers(self) -> list[OvsDetrace]:
        taken = list(self.questions.answers)
        self.questions.answers.clear()
        return taken

    def messages(self, level: int = logging.WARNING) -> list[str]:
        taken = [text for number, text in self.questions.messages if number == level]
        self.questions.messages.clear()
        return taken


@pytest.fixture
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="retis-", dir="/tmp") as folder:
        made = Lab(Path(folder))
        yield made
        made.questions.close()


@contextmanager
def daemon(
    lab: Lab,
    name: str = "daemon",
    commands: Answer = COMMANDS,
    flow: Answer = "in_port(1), actions:2\n",
    rules: Answer = "br0\n  in_port=1 actions=output:2\n",
) -> Iterator[Server]:
    answers = {"list-commands": commands, "dpctl/get-flow": flow, "ofproto/detrace": rules}
    with serve(lab.path(name), answers) as server:
        yield server


def methods(server: Server) -> list[str]:
    return [method for method, *_ in server.requests]


def test_flow_and_rules(lab: Lab) -> None:
    with daemon(lab) as server:
        lab.questions.add(key())
        lab.run(1)
        rules = ["br0", "in_port=1 actions=output:2"]
        assert lab.answers() == [OvsDetrace(*key(), "in_port(1), actions:2", rules)]
        ufid = f"ufid:{ufid_text(key().ufid)}"
        assert server.requests == [
            ("list-commands",),
            ("dpctl/get-flow", "system@ovs-system", ufid),
            ("ofproto/detrace", ufid),
        ]
        assert server.connections == 1
    [said] = lab.messages(logging.INFO)
    assert said.startswith("daemon: asked for flows")


def test_rate(lab: Lab) -> None:
    """Ten requests a second whatever is asked, none made good for."""
    with daemon(lab) as server:
        lab.run(5)  # nothing to ask
        for number in range(200):
            assert lab.questions.add(key(number))
        before = len(server.requests)
        for second in range(1, 6):
            lab.run(1)
            assert before + 10 * second - 1 <= len(server.requests) <= before + 10 * second + 1
    assert len(lab.answers()) < 200


def test_rate_is_that_of_all_daemons(lab: Lab) -> None:
    with daemon(lab, "a", flow=GONE) as first, daemon(lab, "b") as second:
        for number in range(100):
            lab.questions.add(key(number))
        lab.run(3)
        assert 29 <= len(first.requests) + len(second.requests) <= 31


def test_rules_that_are_not_known_yet(lab: Lab) -> None:
    replies = iter([LATER, LATER, "br0\n  rule\n"])
    with daemon(lab, rules=lambda _: next(replies)) as server:
        lab.questions.add(key())
        lab.run(0.45)
        assert methods(server) == ["list-commands", "dpctl/get-flow", "ofproto/detrace"]
        assert lab.answers() == []
        lab.run(RETRIES[0])
        assert methods(server).count("ofproto/detrace") == 2
        lab.run(RETRIES[1])
        assert [answer.ofpflows for answer in lab.answers()] == [["br0", "rule"]]
        lab.run(60)
        assert methods(server).count("ofproto/detrace") == 3
        assert methods(server).count("dpctl/get-flow") == 1


def test_rules_that_are_never_known(lab: Lab) -> None:
    """The waits grow, then the flow alone is told. Others are asked for meanwhile."""
    times = []

    def rules(ufid: str) -> str:
        if ufid.endswith(ufid_text(key().ufid)):
            times.append(lab.now)
            return LATER
        return "rule"

    with daemon(lab, rules=rules):
        lab.questions.add(key())
        lab.run(1)
        lab.questions.add(key(2))
        lab.run(1)
        assert [answer.flow for answer in lab.answers()] == [key(2).flow]
        lab.run(60)
        assert lab.answers() == [OvsDetrace(*key(), "in_port(1), actions:2", [])]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits == pytest.approx(RETRIES, abs=0.3)


def test_flow_that_is_gone(lab: Lab) -> None:
    with daemon(lab, flow=GONE) as server:
        lab.questions.add(key())
        lab.run(1)
        assert methods(server) == ["list-commands", "dpctl/get-flow"]
    assert lab.answers() == []
    assert lab.questions.unanswered == {"gone before they could be asked for": 1}


def test_flow_of_the_other_daemon(lab: Lab) -> None:
    with daemon(lab, "a", flow=GONE) as first, daemon(lab, "b") as second:
        lab.questions.add(key())
        lab.run(1)
        assert len(lab.answers()) == 1
        assert "ofproto/detrace" not in methods(first)
        assert "ofproto/detrace" in methods(second)


def test_daemon_that_is_started_later(lab: Lab) -> None:
    """There being none is said once; what was asked is kept."""
    lab.questions.add(key())
    lab.run(10)
    [said] = lab.messages()
    assert said.startswith("--ovs-enrich-flows: no ovs-vswitchd was found")
    with daemon(lab):
        lab.run(2)
        assert len(lab.answers()) == 1


def test_second_daemon_that_is_started_later(lab: Lab) -> None:
    with daemon(lab, "a", flow=GONE):
        lab.run(10)
        with daemon(lab, "b"):
            lab.questions.add(key())
            lab.run(2)
            assert len(lab.answers()) == 1


def test_old_daemon(lab: Lab) -> None:
    with daemon(lab, commands=OLD_COMMANDS) as server:
        lab.questions.add(key())
        lab.run(1)
        assert lab.answers() == [OvsDetrace(*key(), "in_port(1), actions:2", [])]
        assert "ofproto/detrace" not in methods(server)
    [said] = lab.messages()
    assert "3.4 or later" in said


def test_daemon_is_restarted(lab: Lab) -> None:
    """Its loss is said once, its return too, and what was being asked is asked again."""
    with daemon(lab):
        lab.questions.add(key(1))
        lab.run(1)
    lab.questions.add(key(2))
    lab.run(30)
    [said] = lab.messages()
    assert "flows are not asked for at" in said
    with daemon(lab):
        lab.run(30)
        [said] = lab.messages(logging.INFO)
        assert "asked for flows" in said
    assert [answer.flow for answer in lab.answers()] == [key(1).flow, key(2).flow]


def test_daemon_is_restarted_while_many_wait_for_rules(lab: Lab) -> None:
    """They are asked of the one that is there then, at once when it is found."""
    with daemon(lab, rules=LATER):
        for number in range(5):
            lab.questions.add(key(number))
        lab.run(1.2)
    lab.run(6)
    with daemon(lab):
        lab.run(10)
    assert sorted(answer.flow for answer in lab.answers()) == [key(n).flow for n in range(5)]
    assert len(lab.messages()) == 1


def test_daemon_that_never_answers_well(lab: Lab) -> None:
    """It is tried less and less often, and said once; no question is asked for ever."""
    with daemon(lab, flow=b"garbage") as server:
        lab.questions.add(key())
        lab.run(300)
        assert methods(server).count("dpctl/get-flow") == 3
        assert lab.questions.unanswered == {"without an answer": 1}
    with daemon(lab, "mute", commands=b"") as server:
        lab.questions.add(key())
        lab.run(300)
        assert len(server.requests) < 20
        assert len([text for text in lab.messages() if text.startswith("mute")]) == 1


def test_who_may_not_connect(lab: Lab) -> None:
    capabilities.require("root")
    with daemon(lab):
        found = lab.find()
        lab.questions = FlowQuestions(10, lambda: found, Vswitchd, lambda: lab.now)
        os.seteuid(65534)  # the folder is root's alone
        try:
            lab.run(5)
        finally:
            os.seteuid(0)
    [said] = lab.messages()
    assert said == (
        f"daemon: flows are not asked for at {lab.path('daemon')}, since Permission denied: run"
        " as root"
    )


def test_waiting_limit(lab: Lab) -> None:
    added = [lab.questions.add(key(number)) for number in range(WAITING_LIMIT + 1)]
    assert added == [True] * WAITING_LIMIT + [False]
    with daemon(lab):
        lab.run(1)
        assert lab.questions.add(key(WAITING_LIMIT))


def test_what_waits_at_the_end(lab: Lab) -> None:
    """What is known of a flow is told; of the others how many there are."""
    with daemon(lab, rules=LATER):
        lab.questions.add(key(1))
        lab.run(1)
        lab.questions.add(key(2))
        lab.questions.add(key(3))
        assert lab.questions.give_up() == 2
    assert lab.answers() == [OvsDetrace(*key(1), "in_port(1), actions:2", [])]
    assert lab.questions.give_up() == 0
