"""Signals that end a collection."""

import os
import signal
from collections.abc import Iterator

import pytest

from retis_py.cli.stop import Stop

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in NUMBERS]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may have been started by nohup
    yield
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_first_one(number: signal.Signals) -> None:
    """The second one ends the process, but for SIGHUP: a closed terminal sends it twice."""
    stop = Stop()
    assert not stop.is_over()
    os.kill(os.getpid(), number)
    assert stop.is_over()
    assert [signal.getsignal(each) for each in NUMBERS] == [
        signal.SIG_DFL,
        signal.SIG_DFL,
        signal.SIG_IGN,
    ]
    os.kill(os.getpid(), signal.SIGHUP)


def test_hang_up_that_is_ignored() -> None:
    """As nohup does it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.is_over()


def test_command_that_others_may_have_to_end() -> None:
    stop = Stop()
    assert stop.command is None
    stop.run("exit 3")
    command = stop.command
    assert command is not None
    assert command.has_group is (os.getpgid(command.pid) == command.pid)
    stop.finish()
