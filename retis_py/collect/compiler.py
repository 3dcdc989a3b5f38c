"""Compiling a program in a child process (child.py), which ends, and its 130 MiB with it.

What was compiled before comes from the cache, without a child. Where there can be nothing in it
the child is started before the text is ready, since importing bcc takes as long as putting the text
together.
"""

import logging
import marshal
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from retis_py.collect.compile_cache import CompileCache, MadeBy
from retis_py.collect.compiled import Compiled, MapDefinition, Request
from retis_py.collect.headers import write_header_tree
from retis_py.errors import OUT_OF_MEMORY, MissingPrerequisite, RetisError

log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("child.py")

# Without debug information clang takes a fifth less time; the verifier's log then lacks C lines.
_FAST = ("-Wno-macro-redefined", "-g0")
# Of the dynamic linker, and of Python.
_SHORTAGE = ("failed to map segment", "Cannot allocate memory", "MemoryError")
NO_BCC = (
    "cannot import bcc, which compiles the program: install it from the distribution (Debian: "
    "apt-get install python3-bpfcc) and run with a Python that sees it, {executable} does not"
)


class Compiler:
    """What makes programs of texts; to be used in a ``with`` statement, which ends its child."""

    def __init__(self, cache: CompileCache | None = None) -> None:
        self._cache = cache
        self._child = _Child() if cache is None or cache.is_empty else None

    def compile(self, text: str, functions: Sequence[str]) -> Compiled:
        """Compile the program, or find it in the cache; the child is gone afterwards.

        Raises:
            MissingPrerequisite: bcc is not installed.
            RetisError: the program does not compile (a bug, or a kernel unlike those tested).
        """
        cflags = _FAST[:-1] if log.isEnabledFor(logging.DEBUG) else _FAST
        request = Request(text, tuple(functions), cflags)
        # Nothing was there when the child was started.
        found = self._cache.find(request) if self._cache and not self._child else None
        if found is not None:
            return found
        if self._child is None:
            self._child = _Child()
        answer = _read_answer(*self._child.ask(request))
        compiled = Compiled(answer["functions"], [MapDefinition(*m) for m in answer["maps"]])
        if self._cache is not None:
            self._cache.keep(request, compiled, [MadeBy(*file) for file in answer["made_by"]])
        return compiled

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()
        if self._cache is not None:
            self._cache.close()


class _Child:
    """The process, from its start to its answer."""

    def __init__(self) -> None:
        # A start without a child does without.
        from retis_py.collect.own_folder import OwnFolder  # noqa: PLC0415

        self.folder = OwnFolder()
        try:
            write_header_tree(self.folder.path)
            self._start()
        except BaseException:
            self.folder.remove()
            raise

    def _start(self) -> None:
        import subprocess  # noqa: PLC0415 (only where something is to be compiled)

        self.process = subprocess.Popen(
            # -S, -P: what Python looks for at its start takes time, and nothing is to be
            # imported from the folder that the user happens to be in.
            [sys.executable, "-S", "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ
            | {
                "BCC_KERNEL_SOURCE": str(self.folder.path),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            # Ctrl-C is for the process that the user started; the child ends when it does.
            process_group=0,
        )

    def ask(self, request: Request) -> tuple[bytes, int]:
        """Return its answer and its exit code."""
        output, messages = self.process.communicate(
            marshal.dumps(
                {
                    "text": request.text,
                    "functions": list(request.functions),
                    "cflags": list(request.cflags),
                }
            )
        )
        self.folder.remove()
        for line in messages.decode(errors="replace").splitlines():
            log.debug("compiler: %s", line)
        return output, self.process.returncode

    def close(self) -> None:
        """End it, whatever it is doing."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream and not stream.closed:
                stream.close()
        self.folder.remove()


def _read_answer(output: bytes, exit_code: int) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = marshal.loads(output)  # noqa: S302 (from our own child)
    except (EOFError, ValueError, TypeError) as error:
        if exit_code < 0:
            raise RetisError(
                f"the compiler has ended by {signal.Signals(-exit_code).name}: was memory short?"
                " It needs some 200 MB"
            ) from None
        raise RetisError(
            f"the compiler ended without an answer (exit code {exit_code}):"
            " see what it says with --log-level debug"
        ) from error
    if answer.get("missing_bcc"):
        raise MissingPrerequisite(NO_BCC.format(executable=sys.executable))
    if any(words in answer.get("error", "") for words in _SHORTAGE):
        raise RetisError(OUT_OF_MEMORY)
    if "error" in answer:
        raise RetisError(
            f"the program does not compile ({answer['error']}): this is a bug, please report what"
            " 'retis --log-level debug collect …' prints"
        )
    return answer
