"""retis where some of the machine's files look otherwise: a mount namespace of its own."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from lab.cli import TIME_LIMIT, Result
from lab.emulation import EMULATED
from lab.forked import client

ROOT = Path(__file__).parents[2]


def retis_after(
    setup: str, *arguments: str | Path, then: str = "true", stdout: str = "/dev/stdout"
) -> Result:
    """Run ``retis ARGUMENTS`` after shell commands whose mounts nobody else sees.

    ``then`` are shell commands to run afterwards in the same namespace; ``stdout`` is a file for
    its standard output.
    """
    words = client() if EMULATED else [sys.executable, "-m", "retis_py"]
    retis = shlex.join([*words, *map(str, arguments)])
    output = retis if stdout == "/dev/stdout" else f"{retis} > {stdout}"
    # Exit code 99: what the tests' own commands failed with is no answer of retis's.
    script = f"( {setup} ) >&2 || exit 99\n{output}\ncode=$?\n( {then} ) >&2 || exit 99\nexit $code"
    return _run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])


def retis_as_nobody(*arguments: str | Path) -> Result:
    """Run ``retis ARGUMENTS`` without any privilege."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return _run([*nobody, sys.executable, "-m", "retis_py", *map(str, arguments)])


def retis_in_user_namespace(*arguments: str | Path) -> Result:
    """Run ``retis ARGUMENTS`` as root of a user namespace: with all capabilities, none of use."""
    apart = ["unshare", "--user", "--map-root-user"]
    return _run([*apart, sys.executable, "-m", "retis_py", *map(str, arguments)])


def _run(command: list[str]) -> Result:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIME_LIMIT,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    stdout, stderr = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    assert done.returncode != 99, f"the test's own commands failed:\n{stderr}"
    return Result(done.returncode, stdout, stderr)
