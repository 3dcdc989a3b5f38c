"""Guests in which tests/functional runs, beside each other and beside all other tests.

They start when a session does that has their tests (tests/vm/conftest.py), at a lower priority than
the others, of which one CPU has enough.
"""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from vm import boot, kernels, openvswitch

TIME_LIMIT = 2400
"""Seconds until a guest is killed: all that CI may take."""

_PRIORITY = "5"  # as of nice(1)

# What these test lies in user space, or on pages that show what one kernel does: one kernel is
# enough, for a guest takes its time.
ONLY_IN = {
    "6.1": (
        "test_cases.py",
        "test_collect_bad.py",
        "test_collect_reader.py",
        "test_compile_cache.py",
        "test_compile_in_guest.py",
        "test_ct_sort.py",
        "test_docs_collector.py",
        "test_inspect.py",
        "test_inspect_report.py::test_in_a_user_namespace",
        "test_inspect_report.py::test_nothing_is_left",
        "test_inspect_report.py::test_text",
        "test_inspect_report.py::test_tracefs_is_not_mounted_by_looking",
        "test_inspect_report.py::test_with_the_needed_capabilities_alone",
        "test_inspect_report.py::test_without_privileges",
        "test_lab.py",
        "test_nft_tracing.py::test_two_at_once_and_one_killed",
        "test_nft_tracing.py::test_what_was_left_is_removed_and_drops_are_shown",
        "test_ovs_lab.py",
        "test_privileges.py::test_functional_tests_with_few_capabilities[nft]",
    ),
    "6.12": (
        "test_docs.py",
        "test_faults_kprobes.py",
        "test_nft_tracing.py::test_sort_shows_the_rules_own_text",
        "test_ovs_enrich.py",
        "test_ovs_track.py::test_burst",
        "test_ovs_track.py::test_restarted_during_the_collection",
        "test_ovs_track.py::test_several_daemons_one_in_a_pid_namespace",
        "test_ovs_track.py::test_no_daemon",
    ),
}

# Emulated CPUs that wait for each other are slow where others want the same real ones, so that only
# one guest has two.
CPUS = {"6.1": "1", "6.12": "2"}

# Debian's kernels have all that a test can ask for.
CAPABILITIES = "root,btf,kprobes,modules,tracefs,openvswitch"


@dataclass(frozen=True, slots=True)
class Running:
    """A guest in which the tests run, and the folder that it shares with us."""

    kernel: kernels.Kernel
    process: "subprocess.Popen[bytes]"
    command: list[str]
    folder: Path

    @property
    def output(self) -> Path:
        """What it printed."""
        return self.folder / "output"

    @property
    def junit(self) -> Path:
        """What came of the tests."""
        return self.folder / "junit.xml"

    @classmethod
    def start(cls, series: str, folder: Path) -> "Running":
        """Boot, and run the tests."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout=600"]
        command += ["--basetemp=/tmp/guest", f"--junitxml={folder / 'junit.xml'}"]
        command += ["tests/functional"]
        elsewhere = [name for other, names in ONLY_IN.items() if other != series for name in names]
        command += [f"--deselect=tests/functional/{name}" for name in elsewhere]
        booting = [
            "nice",
            "-n",
            _PRIORITY,
            sys.executable,
            str(boot.ROOT / "tests/vm/boot.py"),
            series,
        ]
        booting += ["--rwdir", str(folder), "--timeout", str(TIME_LIMIT), "--"]
        kernel = kernels.get(series)
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*booting, "env", f"RETIS_NO_SKIP={CAPABILITIES}", *command],
                env={**os.environ, "RETIS_VM_CPUS": CPUS[series]},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return cls(kernel, process, command, folder)

    def stop(self) -> None:
        """End it, the emulator too."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


class Guests:
    """The guests by series."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[str, Running] = {}

    def start(self) -> None:
        """Boot all. Raises FetchError."""
        openvswitch.get()
        for series in ONLY_IN:
            folder = tempfile.TemporaryDirectory(prefix="retis-guest-", ignore_cleanup_errors=True)
            guest = Running.start(series, Path(self._stack.enter_context(folder)))
            self._stack.callback(guest.stop)
            self._running[series] = guest

    def __getitem__(self, series: str) -> Running:
        return self._running[series]

    def stop(self) -> None:
        """End all, and remove what they left."""
        self._stack.close()


GUESTS = pytest.StashKey[Guests]()
