"""Runs ``retis`` as a user does: another process, its exit code, stdout and stderr."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import unprivileged
from lab.emulation import EMULATED
from lab.forked import ForkedProcess, forking
from lab.netns import LabError, wait_until

# Starting under emulated CPUs takes ten times as long as on this machine.
TIME_LIMIT = 120.0

_RETIS = (sys.executable, "-m", "retis_py")
if EMULATED:  # see vm/compile_service.py
    _RETIS = (sys.executable, str(Path(__file__).with_name("retis_compiled_by_host.py")))

_LINGER = 0.3  # s that a collection goes on behind its command

_ready_names = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run of retis ended."""

    exit_code: int
    stdout: str
    stderr: str


def retis(
    *arguments: str | Path,
    timeout: float = TIME_LIMIT,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """Run ``python -m retis_py ARGUMENTS`` to its end.

    Raises LabError, with the output so far, when it takes longer than ``timeout`` seconds.
    """
    if unprivileged.wanted():
        words, command = unprivileged.split_command(arguments)
        if command is not None:
            with background(*words, timeout=timeout, cwd=cwd, environment=environment) as running:
                unprivileged.run_as_root(command)
                time.sleep(_LINGER)
                return running.stop(timeout=timeout)
    with _start(arguments, cwd=cwd, environment=environment) as running:
        return running.wait(timeout)


@dataclass(frozen=True, slots=True)
class Running:
    """A retis in the background."""

    process: subprocess.Popen[bytes] | ForkedProcess
    folder: Path

    def stop(self, signal_number: int = signal.SIGINT, timeout: float = TIME_LIMIT) -> Result:
        """Send a signal (Ctrl-C's) and wait for the end."""
        self.process.send_signal(signal_number)
        return self.wait(timeout)

    def wait(self, timeout: float = TIME_LIMIT) -> Result:
        """Wait for the end; LabError after ``timeout`` seconds."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"retis still runs after {timeout} s:\n{self.output()}") from None
        return Result(code, self._read("stdout"), self._read("stderr"))

    def output(self) -> str:
        """What it has written so far."""
        return f"--- stdout\n{self._read('stdout')}\n--- stderr\n{self._read('stderr')}"

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text(errors="surrogateescape")


@contextmanager
def background(
    *arguments: str | Path,
    timeout: float = TIME_LIMIT,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Running]:
    """Run ``retis … collect …`` beside the block, which starts once all probes are attached.

    Adds ``--ready-file``, so the arguments must end with the collect command's. ``prefix`` is a
    command that becomes retis (``ip netns exec``). The process is killed at the end of the block if
    it still runs.
    """
    with tempfile.TemporaryDirectory(prefix="retis-ready-") as folder:
        ready = Path(folder) / f"ready{next(_ready_names)}"
        command = [*arguments, "--ready-file", ready]
        with _start(command, cwd=cwd, environment=environment, prefix=prefix) as running:

            def is_ready() -> bool:
                return ready.exists() or running.process.poll() is not None

            wait_until(is_ready, "retis --ready-file", timeout)
            if not ready.exists():
                code = running.process.returncode
                raise LabError(f"retis ended early with exit code {code}\n{running.output()}")
            yield running


@contextmanager
def _start(
    arguments: tuple[str | Path, ...] | list[str | Path],
    *,
    cwd: Path | None,
    environment: Mapping[str, str] | None,
    prefix: Sequence[str] = (),
) -> Iterator[Running]:
    # Files and not pipes: a background retis never waits for a reader.
    with tempfile.TemporaryDirectory(prefix="retis-run-") as name:
        folder = Path(name)
        with (
            Path(os.devnull).open("rb") as null,
            (folder / "stdout").open("wb") as stdout,
            (folder / "stderr").open("wb") as stderr,
        ):
            before = [*prefix, *unprivileged.prefix_if_wanted(*arguments)]
            words = [*map(str, arguments)]
            process: subprocess.Popen[bytes] | ForkedProcess
            # What the environment says is read when modules are imported, too.
            if EMULATED and not before and not environment and cwd is None:
                streams = (null.fileno(), stdout.fileno(), stderr.fileno())
                process = ForkedProcess(forking(), words, streams)
            else:
                process = subprocess.Popen(
                    [*before, *_RETIS, *words],
                    stdin=null,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=cwd,
                    env={**os.environ, **(environment or {})},
                )
        try:
            yield Running(process, folder)
        finally:
            process.kill()
            process.wait()
