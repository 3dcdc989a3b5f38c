"""Compiling a program in a child process (child.py), which ends, and its 130 MiB with it.

The child can be started before the text is ready, since importing bcc takes as long as putting
the text together.
"""

import logging
import marshal
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from retis_py.collect.headers import write_header_tree
from retis_py.errors import MissingPrerequisite, RetisError

log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("child.py")

# Without debug information clang takes a fifth less time; the verifier's log then lacks C lines.
_FAST = ("-Wno-macro-redefined", "-g0")
NO_BCC = (
    "cannot import bcc, which compiles the program: install it from the distribution (Debian: "
    "apt-get install python3-bpfcc) and run with a Python that sees it, {executable} does not"
)


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """A map as the program declares it; sizes in bytes."""

    name: str
    type: int  # BPF_MAP_TYPE_*
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """What loading needs.

    In the instructions (8 bytes each) a map's place is taken by its index in ``maps``.
    """

    functions: dict[str, bytes]
    maps: list[MapDefinition]


class Compiler:
    """The child, from its start to its answer; to be used in a ``with`` statement."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="retis-")
        write_header_tree(Path(self._folder.name))
        self._child = subprocess.Popen(
            # -S, -P: what Python looks for at its start takes time, and nothing is to be
            # imported from the folder that the user happens to be in.
            [sys.executable, "-S", "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ
            | {
                "BCC_KERNEL_SOURCE": self._folder.name,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            # Ctrl-C is for the process that the user started; the child ends when it does.
            process_group=0,
        )

    def compile(self, text: str, functions: Sequence[str]) -> Compiled:
        """Compile the program; the child is gone afterwards.

        Raises:
            MissingPrerequisite: bcc is not installed.
            RetisError: the program does not compile (a bug, or a kernel unlike those tested).
        """
        cflags = _FAST[:-1] if log.isEnabledFor(logging.DEBUG) else _FAST
        request = {"text": text, "functions": list(functions), "cflags": list(cflags)}
        output, messages = self._child.communicate(marshal.dumps(request))
        self._folder.cleanup()
        for line in messages.decode(errors="replace").splitlines():
            log.debug("compiler: %s", line)
        return _read_answer(output, self._child.returncode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
            if stream and not stream.closed:
                stream.close()
        self._folder.cleanup()


def _read_answer(output: bytes, exit_code: int) -> Compiled:
    try:
        answer: dict[str, Any] = marshal.loads(output)  # noqa: S302 (from our own child)
    except (EOFError, ValueError, TypeError) as error:
        raise RetisError(
            f"the compiler ended without an answer (exit code {exit_code}):"
            " see what it says with --log-level debug"
        ) from error
    if answer.get("missing_bcc"):
        raise MissingPrerequisite(NO_BCC.format(executable=sys.executable))
    if "error" in answer:
        raise RetisError(
            f"the program does not compile ({answer['error']}): this is a bug, please report what"
            " 'retis --log-level debug collect …' prints"
        )
    return Compiled(answer["functions"], [MapDefinition(*m) for m in answer["maps"]])
