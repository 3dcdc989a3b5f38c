"""``retis`` in this process: what a user types, what comes out, and what must never."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fuzz.target import assert_safe
from retis_py.cli import main as edge


@dataclass(frozen=True, slots=True)
class Run:
    """How a command ended."""

    code: int
    stdout: bytes
    stderr: str


def _reraise(error: Exception, _: object) -> NoReturn:
    raise error


edge._report_unexpected = _reraise  # the finding is where it was raised
os.environ["NOPAGER"] = "1"


def run(*arguments: str | Path, is_text: bool = True) -> Run:
    """Run a command, which may succeed, or fail with one line.

    ``is_text``: the standard output is for a terminal.
    """
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    messages = io.StringIO()
    with redirect_stdout(output), redirect_stderr(messages):
        code = edge.main([str(each) for each in arguments])
    output.flush()
    stdout = output.buffer.getvalue()
    stderr = messages.getvalue()
    assert code in {0, 1, 2}, f"exit code {code}: {stderr}"
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == (code != 0), f"exit code {code}: {stderr}"
    assert "Traceback" not in stderr
    assert_safe(stderr)
    if is_text:
        assert_safe(stdout.decode())
    return Run(code, stdout, stderr)
