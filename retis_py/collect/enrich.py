"""Flows in words: what ovs-vswitchd knows of the flows that packets hit, as events of their own.

A thread asks, since an answer may take its time; the collection only leaves questions and picks up
answers, and never waits before its end.
"""

import logging
import time
from threading import Event as Signal
from threading import Thread

from retis_py.collect.flow_questions import WAITING_LIMIT, FlowKey, FlowQuestions
from retis_py.events.event import Event
from retis_py.events.sections.common import Common
from retis_py.events.sections.ovs import FlowLookup

log = logging.getLogger(__name__)

# What is still to be asked when the collection ends gets this long (s).
LAST_CHANCE = 2.0

# Flows that are remembered as asked for; forgotten ones are asked for again.
_REMEMBERED = 100_000


class FlowEnricher:
    """Asks for each flow that a packet has hit, once; to be started before ``see`` is called.

    What is still to be asked at the end gets ``last_chance`` (s).
    """

    def __init__(self, questions: FlowQuestions, last_chance: float = LAST_CHANCE) -> None:
        self._questions = questions
        self._last_chance = last_chance
        self._known: dict[FlowKey, None] = {}
        self._refused: dict[FlowKey, None] = {}
        self._answered = 0
        self._wake = Signal()
        self._stopped = False
        self._deadline: float | None = None
        self._thread = Thread(target=self._run, name="ovs-enrich-flows", daemon=True)

    def start(self) -> None:
        """Begin to look for daemons."""
        self._thread.start()

    def see(self, event: Event) -> None:
        """Note the flow that an event's packet has hit."""
        lookup = event.ovs
        if not isinstance(lookup, FlowLookup) or not lookup.flow:
            return
        key = FlowKey(lookup.ufid, lookup.flow, lookup.sf_acts)
        if key in self._known:
            return
        if self._questions.add(key):
            self._refused.pop(key, None)
            _remember(self._known, key)
            self._wake.set()
        else:  # it is asked for when it is hit again and there is room
            _remember(self._refused, key)

    def poll(self) -> list[Event]:
        """Return what was answered since the last call; say what there is to say."""
        while self._questions.messages:
            log.log(*self._questions.messages.popleft())
        events = []
        while self._questions.answers:
            answer = self._questions.answers.popleft()
            events.append(Event(Common(timestamp=time.monotonic_ns()), ovs_detrace=answer))
        self._answered += len(events)
        return events

    def finish(self) -> list[Event]:
        """Wait a little for what is still to be asked, and return the last answers.

        Says how many flows were described, and how many were not. Takes half a second more than
        ``last_chance`` at most.
        """
        self._deadline = time.monotonic() + self._last_chance
        self._wake.set()
        self._thread.join(self._last_chance)
        self._stopped = True
        self._wake.set()
        self._questions.abort()
        self._thread.join(0.5)
        if not self._thread.is_alive():
            self._questions.close()
        left = self._questions.give_up()
        events = self.poll()
        self._report(left)
        return events

    def _run(self) -> None:
        questions = self._questions
        while not self._stopped and not self._is_done():
            delay = questions.step()
            if self._deadline is not None:
                delay = min(delay, self._deadline - time.monotonic())
            if delay > 0 and not self._stopped:
                self._wake.wait(delay)
            self._wake.clear()

    def _is_done(self) -> bool:
        """Whether the collection is over and nothing is due before the deadline."""
        if self._deadline is None:
            return False
        due = self._questions.next_due
        return due is None or max(due, time.monotonic()) >= self._deadline

    def _report(self, left: int) -> None:
        refused = len(self._refused)
        causes = dict(self._questions.unanswered)
        if refused:
            more = "or more " if refused == _REMEMBERED else ""
            causes[f"{more}not asked for, since {WAITING_LIMIT:,} others waited"] = refused
        if left:
            causes["not asked for before the end"] = left
        text = "".join(f"; {count:,} {cause}" for cause, count in causes.items())
        level = logging.WARNING if refused or left else logging.INFO
        log.log(level, "%s flow(s) of Open vSwitch described%s", f"{self._answered:,}", text)


def _remember(keys: dict[FlowKey, None], key: FlowKey) -> None:
    keys[key] = None
    if len(keys) > _REMEMBERED:
        del keys[next(iter(keys))]
