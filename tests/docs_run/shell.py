"""A shell that runs commands one after the other, as a reader types them.

For root it has a network namespace and a folder of named namespaces of its own, so that nothing
which a page makes outlives it or gets in the way of what else runs here.
"""

import itertools
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.emulation import EMULATED
from lab.forked import client

ROOT = Path(__file__).resolve().parents[2]

_RETIS = """\
#!{python} -P
import os, sys
from pathlib import Path
from retis_py.cli.main import main
if os.environ.get("RETIS_COMPILE_FOLDER"):  # in a guest, see vm/compile_service.py
    from retis_py.collect import compiler
    compiler._CHILD = Path("{child}")
sys.exit(main())
"""

_PRELUDE = "mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up"


_STATUSES = 9  # the descriptor to which the shell writes exit codes
_numbers = itertools.count(1)


class ShellError(Exception):
    """The shell ended, or a command did not; one line."""


def shortened(text: str) -> str:
    """Return at most the first 80 lines of ``text``."""
    lines = text.splitlines()
    return "\n".join(lines if len(lines) <= 80 else [*lines[:80], f"({len(lines) - 80} more)"])


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. ``printed`` is what went to standard output and error."""

    printed: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Shell:
    """A running shell; see ``shell``."""

    process: subprocess.Popen[bytes]
    statuses: int
    scratch: Path

    def run(self, command: str, timeout: float, interrupt: bool = False) -> Ran:
        """Run ``command`` in the shell; ``interrupt`` it when it says that probes are loaded.

        Raises ShellError after ``timeout`` seconds, and where the shell has ended.
        """
        # A file for each: a job in the background goes on writing to the one of its command.
        number = next(_numbers)
        script, output = self.scratch / f"command{number}", self.scratch / f"output{number}"
        script.write_text(f"{command}\n")
        assert self.process.stdin is not None
        line = f". {script} </dev/null >{output} 2>&1; echo $? >&{_STATUSES}\n"
        with suppress(BrokenPipeError):  # the shell is gone: told below
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        if interrupt:
            self._interrupt_once_loaded(output, timeout)
        ready, _, _ = select.select([self.statuses], [], [], timeout)
        printed = output.read_text(errors="replace") if output.exists() else ""
        if not ready:
            raise ShellError(
                f"not ended after {timeout:.0f} s; printed so far:\n{shortened(printed)}"
            )
        status = os.read(self.statuses, 100)
        if not status:
            raise ShellError(f"the shell ended; printed:\n{shortened(printed)}")
        return Ran(output.read_text(errors="replace"), int(status))

    def _interrupt_once_loaded(self, output: Path, timeout: float) -> None:
        end = time.monotonic() + timeout
        while not (output.exists() and "loaded\n" in output.read_text(errors="replace")):
            if time.monotonic() > end or select.select([self.statuses], [], [], 0.05)[0]:
                return
        time.sleep(1)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGINT)


@contextmanager
def shell(folder: Path, scratch: Path, checkout: Path) -> Iterator[Shell]:
    """Start a shell in ``folder``; what it needs itself goes into ``scratch``.

    ``retis`` is that of ``checkout``. At the end all that was started in its process group is
    killed.
    """
    programs = scratch / "bin"
    programs.mkdir()
    child = ROOT / "tests" / "lab" / "compiler_child.py"
    text = _RETIS.format(python=sys.executable, child=child)
    if EMULATED and checkout == ROOT:
        text = f'#!/bin/sh\nexec {shlex.join(client())} "$@"\n'
    (programs / "retis").write_text(text)
    (programs / "retis").chmod(0o755)
    reading, writing = os.pipe()
    prefix = ["unshare", "--mount", "--net"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [
            *prefix,
            "bash",
            "--norc",
            "-c",
            f"exec {_STATUSES}>&{writing} {writing}>&-; exec bash --norc -s",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writing,),
        cwd=folder,
        env=_environment(programs, folder, checkout),
        start_new_session=True,
    )
    os.close(writing)
    started = Shell(process, reading, scratch)
    try:
        if prefix and (ran := started.run(_PRELUDE, 30)).exit_code:
            raise ShellError(f"no namespaces of its own: {ran.printed}")
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(BrokenPipeError):
            process.communicate()
        os.close(reading)


def _environment(programs: Path, folder: Path, checkout: Path) -> dict[str, str]:
    path = f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    kept = {
        name: os.environ[name]
        for name in ("XDG_CACHE_HOME", "RETIS_COMPILE_FOLDER", "RETIS_OVS_CACHE", "TMPDIR")
        if name in os.environ
    }
    return kept | {
        "PATH": path,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(checkout),
        "DOCS_RUN": str(Path(__file__).parent),
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "TERM": "dumb",
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "NOPAGER": "1",
    }
