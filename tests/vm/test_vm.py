"""tests/functional in other kernels: one boot each, all tests in it.

What a guest's kernel has is not skipped there (RETIS_NO_SKIP), so a test without its capability
fails. Deselect with ``-m 'not vm'``.
"""

import shlex
import sys
from pathlib import Path

import pytest

from vm import boot, guest_report, kernels

TIME_LIMIT = 1200.0

# Debian's kernels have all that a test can ask for.
CAPABILITIES = "root,btf,kprobes,modules,tracefs"


@pytest.mark.vm
@pytest.mark.timeout(2 * TIME_LIMIT + 60)  # two boots and a download
@pytest.mark.parametrize("series", ["6.1", "6.12"])
def test_functional(
    series: str, tmp_path: Path, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    kernel = kernels.get(series)
    junit = tmp_path / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout=600"]
    command += ["--basetemp=/tmp/guest", f"--junitxml={junit}", str(boot.ROOT / "tests/functional")]
    code = boot.run(
        boot.Guest(kernel, tmp_path, TIME_LIMIT), command, {"RETIS_NO_SKIP": CAPABILITIES}
    )
    output = capfd.readouterr().out
    tests = guest_report.read(junit, kernel.version) if junit.exists() else []
    request.config.stash[guest_report.GUEST_TESTS].extend(tests)
    if code != 0:
        problem = f"Linux {kernel.version}: exit code {code} of {shlex.join(command)}"
        pytest.fail(f"{problem}\n{output}", pytrace=False)
    assert any(test.outcome == "passed" for test in tests), f"no test ran:\n{output}"
