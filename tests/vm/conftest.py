"""Reports the tests that ran inside the guests, each with its outcome."""

import pytest

from vm.guest_report import GUEST_TESTS, GuestTest


def pytest_configure(config: pytest.Config) -> None:
    config.stash[GUEST_TESTS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tests: list[GuestTest] = terminalreporter.config.stash[GUEST_TESTS]
    for kernel in dict.fromkeys(test.kernel for test in tests):
        ran = [test for test in tests if test.kernel == kernel]
        passed = sum(test.outcome == "passed" for test in ran)
        terminalreporter.section(f"in Linux {kernel}: {passed} of {len(ran)} passed", sep="-")
        for test in ran:
            line = f"{test.outcome.upper():7} {test.name} {test.seconds:.1f}s {test.reason}"
            terminalreporter.write_line(line.rstrip())
