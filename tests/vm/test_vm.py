"""tests/functional in other kernels: one boot each, all tests in it.

What a guest's kernel has is not skipped there (RETIS_NO_SKIP), so a test without its capability
fails. Deselect with ``-m 'not vm'``.
"""

import shlex

import pytest

from vm import guest_report
from vm.running import GUESTS, ONLY_IN, TIME_LIMIT


@pytest.mark.vm
@pytest.mark.timeout(TIME_LIMIT + 60)
@pytest.mark.parametrize("series", ONLY_IN)
def test_functional(series: str, request: pytest.FixtureRequest) -> None:
    guest = request.config.stash[GUESTS][series]
    code = guest.process.wait()
    output = guest.output.read_text(errors="replace")
    version = guest.kernel.version
    tests = guest_report.read(guest.junit, version) if guest.junit.exists() else []
    request.config.stash[guest_report.GUEST_TESTS].extend(tests)
    if code != 0:
        problem = f"Linux {version}: exit code {code} of {shlex.join(guest.command)}"
        pytest.fail(f"{problem}\n{output}", pytrace=False)
    assert any(test.outcome == "passed" for test in tests), f"no test ran:\n{output}"
