"""Questions to ovs-vswitchd about flows: which is asked next, of whom, and when.

Nothing in here waits for anything but an answer; ``FlowQuestions.step`` sends one request at most,
and says when the next one may be sent.
"""

import heapq
import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from retis_py.events.sections.ovs_detrace import OvsDetrace, Ufid, ufid_text
from retis_py.kernel.vswitchd import RUN_FOLDER, ControlSocket, Vswitchd, control_sockets

if TYPE_CHECKING:
    from pathlib import Path

# Flows that wait at most, to be asked about or for an answer. At 20 requests a second that many
# take longer than a flow lives that no packet uses (10 s).
WAITING_LIMIT = 1000

# Waits (s) before a daemon is asked again that has not put a flow's rules together yet: its
# revalidators run at least every half second, but may not take every flow the first time.
RETRIES = (0.5, 1.0, 2.0, 4.0, 8.0)

# How often a question may end with the connection.
_LOSSES = 3

# Between two looks for daemons (s): where none is known, and where none knows a flow.
_LOOK_AGAIN = 1.0
_LOOK_FOR_OTHERS = 5.0

# Before a daemon is tried again that did not answer (s): the first wait and the longest.
_PATIENCE = (1.0, 30.0)


class FlowKey(NamedTuple):
    """A flow of the datapath as a lookup has found it."""

    ufid: Ufid
    flow: int
    sf_acts: int


@dataclass(slots=True)
class _Question:
    key: FlowKey
    # What goes on at once goes before questions that came later.
    since: float
    number: int
    asked: list[Vswitchd] = field(default_factory=list)  # that do not know it
    daemon: Vswitchd | None = None  # that does
    dpflow: str = ""
    tries: int = 0
    losses: int = 0


class FlowQuestions:
    """What is to be asked, at most ``rate`` requests a second.

    ``add`` and what is public may be used by another thread than ``step``. ``find`` tells where
    daemons listen, ``connect`` makes one; ``clock`` counts seconds.
    """

    def __init__(
        self,
        rate: int,
        find: Callable[[], Sequence[ControlSocket]] = control_sockets,
        connect: Callable[[ControlSocket], Vswitchd] = Vswitchd,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.answers: deque[OvsDetrace] = deque()
        self.messages: deque[tuple[int, str]] = deque()  # level and words, for people
        self.unanswered: Counter[str] = Counter()  # flows, by cause
        self._interval = 1 / rate
        self._find, self._connect, self._clock = find, connect, clock
        self._lock = Lock()
        self._waiting: list[tuple[float, int, _Question]] = []  # a heap, by when it is due
        self._numbers = itertools.count()
        self._daemons: list[Vswitchd] = []
        self._new: deque[ControlSocket] = deque()  # daemons that were found and not greeted yet
        self._current: _Question | None = None
        self._next_request = self._next_look = 0.0
        self._sought = self._ended = False
        self._avoided: dict[Path, tuple[float, float]] = {}  # until when, and the wait

    def add(self, key: FlowKey) -> bool:
        """Take a question; False if too many wait already."""
        with self._lock:
            if len(self._waiting) >= WAITING_LIMIT:
                return False
        question = _Question(key, self._clock(), next(self._numbers))
        self._wait(question, question.since)
        return True

    @property
    def next_due(self) -> float | None:
        """When the next question is due, None if none waits or there is nobody to ask."""
        somebody = self._daemons or self._new or not self._sought
        with self._lock:
            return self._waiting[0][0] if self._waiting and somebody else None

    def step(self) -> float:
        """Send a request, if there is one to send; return how long (s) to do nothing then."""
        now = self._clock()
        if now < self._next_request:
            return self._next_request - now
        if not self._new and not self._daemons and now >= self._next_look:
            self._look(now)
        if self._new:
            self._greet(self._connect(self._new.popleft()))
            return self._next_request - self._clock()
        if not self._daemons:
            return self._next_look - now
        question = self._take(now)
        if question is None:
            due = self.next_due
            return _LOOK_AGAIN if due is None else due - now
        self._ask(question, now)
        self._current = None
        return self._next_request - self._clock()

    def give_up(self) -> int:
        """Answer what waits with what is known; return how many flows there is nothing of."""
        with self._lock:
            waiting = [question for _, _, question in self._waiting]
            self._waiting.clear()
        current = self._current  # its answer did not come in time
        if current is not None and all(question is not current for question in waiting):
            waiting.append(current)
        for question in waiting:
            if question.dpflow:
                self._answer(question, [])
        return sum(not question.dpflow for question in waiting)

    def abort(self) -> None:
        """End a request that another thread waits in, the last one."""
        self._ended = True
        for daemon in self._daemons:
            daemon.abort()

    def close(self) -> None:
        """Give all connections back."""
        for daemon in self._daemons:
            daemon.close()

    def _wait(self, question: _Question, due: float) -> None:
        with self._lock:
            heapq.heappush(self._waiting, (due, question.number, question))

    def _take(self, now: float) -> _Question | None:
        with self._lock:
            if not self._waiting or self._waiting[0][0] > now:
                return None
            self._current = heapq.heappop(self._waiting)[2]
            return self._current

    def _sent(self) -> None:
        """Note that a request is sent now."""
        self._next_request = self._clock() + self._interval

    def _ask(self, question: _Question, now: float) -> None:
        """Send the next request of a question."""
        if question.daemon not in self._daemons:  # lost meanwhile, by another question
            question.daemon = None
        daemon = question.daemon
        if daemon is None:
            daemon = next((d for d in self._daemons if d not in question.asked), None)
        if daemon is None:
            self._nobody_knows(question, now)
            return
        self._sent()
        try:
            if question.daemon is None:
                self._ask_for_flow(question, daemon)
            else:
                self._ask_for_rules(question, daemon)
        except OSError as error:
            self._lose(daemon, error)
            question.losses += 1
            question.daemon = None
            question.asked.clear()
            if question.losses < _LOSSES:
                self._wait(question, question.since)
            else:
                self._finish(question, "without an answer")

    def _ask_for_flow(self, question: _Question, daemon: Vswitchd) -> None:
        text = daemon.flow(ufid_text(question.key.ufid))
        if not text:
            question.asked.append(daemon)
            self._wait(question, question.since)
            return
        question.dpflow = text
        question.daemon = daemon
        if daemon.has_detrace:
            self._wait(question, question.since)
        else:
            self._answer(question, [])

    def _ask_for_rules(self, question: _Question, daemon: Vswitchd) -> None:
        rules = daemon.rules(ufid_text(question.key.ufid))
        if rules.later and question.tries < len(RETRIES):
            self._wait(question, self._clock() + RETRIES[question.tries])
            question.tries += 1
        else:
            self._answer(question, rules.lines)

    def _nobody_knows(self, question: _Question, now: float) -> None:
        """Look for other daemons, if that was not done just now; else it is gone."""
        if now >= self._next_look:
            self._look(now)
            if self._new:
                self._wait(question, question.since)
                return
        self._finish(question, "gone before they could be asked for")

    def _finish(self, question: _Question, cause: str) -> None:
        if question.dpflow:
            self._answer(question, [])
        else:
            self.unanswered[cause] += 1

    def _answer(self, question: _Question, rules: list[str]) -> None:
        self.answers.append(OvsDetrace(*question.key, question.dpflow, rules))

    def _look(self, now: float) -> None:
        """Find daemons that are not known yet."""
        known = {daemon.where.path for daemon in self._daemons}
        found = self._find()
        for where in found:
            until, _ = self._avoided.get(where.path, (0.0, 0.0))
            if where.path not in known and now >= until:
                self._new.append(where)
        if not found and not self._sought:
            self._say(
                logging.WARNING,
                f"--ovs-enrich-flows: no ovs-vswitchd was found, no process of that name nor a"
                f" pidfile in {RUN_FOLDER}: flows are asked for once there is one; the environment"
                " variable OVS_RUNDIR names another run directory",
            )
        self._sought = True
        self._next_look = now + (_LOOK_FOR_OTHERS if self._daemons else _LOOK_AGAIN)

    def _greet(self, daemon: Vswitchd) -> None:
        self._sent()
        try:
            daemon.learn_commands()
        except OSError as error:
            self._lose(daemon, error)
            return
        self._daemons.append(daemon)
        self._avoided.pop(daemon.where.path, None)
        self._say(logging.INFO, f"{daemon.where.name}: asked for flows ({daemon.where.path})")
        if not daemon.has_detrace:
            self._say(
                logging.WARNING,
                f"{daemon.where.name}: flows are told without OpenFlow rules, since it has no"
                " command ofproto/detrace: use Open vSwitch 3.4 or later",
            )

    def _lose(self, daemon: Vswitchd, error: OSError) -> None:
        """Do without a daemon for a while; said once, until it answers again."""
        daemon.close()
        known = daemon in self._daemons
        if known:
            self._daemons.remove(daemon)
            self._next_look = min(self._next_look, self._clock() + _LOOK_AGAIN)
        if self._ended:
            return
        path = daemon.where.path
        first, longest = _PATIENCE
        _, wait = self._avoided.get(path, (0.0, 0.0))
        if known or path not in self._avoided:
            hint = ": run as root" if isinstance(error, PermissionError) else ""
            self._say(
                logging.WARNING,
                f"{daemon.where.name}: flows are not asked for at {path},"
                f" since {error.strerror or error}{hint or '; it is tried again'}",
            )
        wait = min(2 * wait, longest) if wait else first
        self._avoided[path] = (self._clock() + wait, wait)

    def _say(self, level: int, text: str) -> None:
        self.messages.append((level, text))
