"""``retis`` as a fork of a process that has imported it, for emulated guests.

Python's start and retis's imports take most of what a collection takes there, and no kernel changes
anything about them. The forking process starts once; each retis is a child of the test's process,
as one that it starts itself (CLONE_PARENT), in a session of tests that has to wait for it.

Run as a program this file is the forking process. It is asked through the socket that is its
standard input: arguments, folder and environment as JSON, with the descriptors for the standard
output and error.
"""

import ctypes
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_CLONE_PARENT = 0x00008000  # include/uapi/linux/sched.h
_SYS_CLONE = 56  # x86-64
_LARGEST = 1 << 20
_POLL = 0.01  # s

# The first would run, the second wants bcc, the third is no module of Python's.
_NOT_IMPORTED = {"retis_py.__main__", "retis_py.collect.child", "retis_py._compiled"}


class ForkedProcess:
    """A child of this process that subprocess did not start; its methods are as Popen's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises subprocess.TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired("retis", timeout or 0)
            time.sleep(_POLL)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self.send_signal(signal.SIGKILL)


class _Forking:
    """The forking process, as those who ask it see it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
        with theirs:
            # It ends when the socket is closed, with this process.
            self._process = subprocess.Popen([sys.executable, __file__], stdin=theirs)

    def start(
        self,
        arguments: Sequence[str],
        stdout: int,
        stderr: int,
        cwd: Path | None,
    ) -> ForkedProcess:
        """Start retis in the folder ``cwd``, with its outputs going to two descriptors."""
        message = json.dumps([[*arguments], str(cwd or Path.cwd()), {**os.environ}]).encode()
        socket.send_fds(self._socket, [message], [stdout, stderr])
        return ForkedProcess(int(self._socket.recv(32)))


forking = cache(_Forking)
"""The one forking process of this process."""


def _serve(asked: socket.socket) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, _LARGEST, 2)
        if not message:
            return
        pid = _fork_sibling()
        if pid == 0:
            _become_retis(asked, *json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        asked.send(str(pid).encode())


def _fork_sibling() -> int:
    """As fork(2), but that the child's parent is our own."""
    libc = ctypes.PyDLL(None, use_errno=True)
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = int(libc.syscall(_SYS_CLONE, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return pid


def _become_retis(
    asked: socket.socket,
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    descriptors: Sequence[int],
) -> None:
    code = 1
    try:
        asked.close()
        null = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((null, *descriptors)):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        sys.argv = ["retis", *arguments]
        main = importlib.import_module("retis_compiled_by_host").run
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _import_all() -> None:
    package = importlib.import_module("retis_py")
    for module in pkgutil.walk_packages(package.__path__, "retis_py."):
        if module.name not in _NOT_IMPORTED:
            importlib.import_module(module.name)
    importlib.import_module("retis_compiled_by_host")
    importlib.import_module("yaml")


if __name__ == "__main__":
    _import_all()
    with socket.socket(fileno=os.dup(0)) as ours:
        _serve(ours)
