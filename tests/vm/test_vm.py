"""tests/functional in other kernels: one boot each, all tests in it.

What a guest's kernel has is not skipped there (RETIS_NO_SKIP), so a test without its capability
fails. Deselect with ``-m 'not vm'``.
"""

import shlex
import sys
from pathlib import Path

import pytest

from vm import boot, guest_report, kernels, openvswitch

TIME_LIMIT = 1200.0

# What these test lies in user space: one kernel is enough, for a guest takes its time.
ONCE = (
    "test_collect_bad.py",
    "test_collect_reader.py",
    "test_compile_cache.py",
    "test_compile_in_guest.py",
    "test_ct_sort.py",
    "test_docs.py",
    "test_docs_collector.py",
    "test_inspect.py",
    "test_lab.py",
    "test_nft_tracing.py::test_sort_shows_the_rules_own_text",
    "test_nft_tracing.py::test_two_at_once_and_one_killed",
    "test_nft_tracing.py::test_what_was_left_is_removed_and_drops_are_shown",
    "test_ovs_enrich.py",
    "test_ovs_lab.py",
    "test_ovs_track.py::test_restarted_during_the_collection",
    "test_ovs_track.py::test_several_daemons_one_in_a_pid_namespace",
    "test_ovs_track.py::test_no_daemon",
)
ONCE_IN = "6.12"
# Pages that show what they do on 6.1.
ONLY_IN_6_1 = ("test_cases.py",)

# Debian's kernels have all that a test can ask for.
CAPABILITIES = "root,btf,kprobes,modules,tracefs,openvswitch"


@pytest.mark.vm
@pytest.mark.timeout(2 * TIME_LIMIT + 60)  # two boots, downloads, a build
@pytest.mark.parametrize("series", ["6.1", "6.12"])
def test_functional(
    series: str, tmp_path: Path, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    kernel = kernels.get(series)
    openvswitch.get()
    junit = tmp_path / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout=600"]
    command += ["--basetemp=/tmp/guest", f"--junitxml={junit}", "tests/functional"]
    elsewhere = ONLY_IN_6_1 if series == ONCE_IN else ONCE
    command += [f"--deselect=tests/functional/{name}" for name in elsewhere]
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
