"""Starts the guests with the session, and reports the tests that ran inside, with their outcome."""

import pytest

from vm.cache import FetchError
from vm.guest_report import GUEST_TESTS, GuestTest
from vm.running import GUESTS, Guests


def pytest_configure(config: pytest.Config) -> None:
    config.stash[GUEST_TESTS] = []
    config.stash[GUESTS] = Guests()


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any(item.path.name == "test_vm.py" for item in session.items)
    if wanted and not session.config.option.collectonly:
        try:
            session.config.stash[GUESTS].start()
        except FetchError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[GUESTS].stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tests: list[GuestTest] = terminalreporter.config.stash[GUEST_TESTS]
    for kernel in dict.fromkeys(test.kernel for test in tests):
        ran = [test for test in tests if test.kernel == kernel]
        passed = sum(test.outcome == "passed" for test in ran)
        terminalreporter.section(f"in Linux {kernel}: {passed} of {len(ran)} passed", sep="-")
        for test in ran:
            line = f"{test.outcome.upper():7} {test.name} {test.seconds:.1f}s {test.reason}"
            terminalreporter.write_line(line.rstrip())
