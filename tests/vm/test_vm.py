"""tests/functional in other kernels: one boot each, all tests in it.

What a guest's kernel has is not skipped there (RETIS_NO_SKIP), so a test without its capability
fails. Deselect with ``-m 'not vm'``. The guests run side by side: each has little use for more than
one of this machine's CPUs.
"""

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from vm import boot, guest_report, kernels

TIME_LIMIT = 1800

# Debian's kernels have all that a test can ask for.
CAPABILITIES = "root,btf,kprobes,modules,tracefs"


@dataclass(frozen=True, slots=True)
class Running:
    """A guest in which the tests run."""

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
        command += [str(boot.ROOT / "tests/functional")]
        booting = [sys.executable, str(boot.ROOT / "tests/vm/boot.py"), series]
        booting += ["--rwdir", str(folder), "--timeout", str(TIME_LIMIT), "--"]
        kernel = kernels.get(series)
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*booting, "env", f"RETIS_NO_SKIP={CAPABILITIES}", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return cls(kernel, process, command, folder)

    def stop(self) -> None:
        """End it, the emulator too."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """The guests by series."""
    with ExitStack() as running:
        started = {}
        for series in ("6.1", "6.12"):
            guest = Running.start(series, tmp_path_factory.mktemp("guest"))
            running.callback(guest.stop)
            started[series] = guest
        yield started


@pytest.mark.vm
@pytest.mark.timeout(TIME_LIMIT + 300)  # a download
@pytest.mark.parametrize("series", ["6.1", "6.12"])
def test_functional(
    series: str, guests: dict[str, Running], request: pytest.FixtureRequest
) -> None:
    guest = guests[series]
    code = guest.process.wait()
    output = guest.output.read_text(errors="replace")
    version = guest.kernel.version
    tests = guest_report.read(guest.junit, version) if guest.junit.exists() else []
    request.config.stash[guest_report.GUEST_TESTS].extend(tests)
    if code != 0:
        problem = f"Linux {version}: exit code {code} of {shlex.join(guest.command)}"
        pytest.fail(f"{problem}\n{output}", pytrace=False)
    assert any(test.outcome == "passed" for test in tests), f"no test ran:\n{output}"
