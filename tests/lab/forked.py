"""``retis`` as a fork of a process that has imported it, for emulated guests.

Python's start and retis's imports take most of what a collection takes there, and no kernel changes
anything about them. The process that forks starts once. Who wants a retis connects to its socket
and sends arguments, folder and environment as JSON, with three descriptors for its standard
streams; the answers are the process id, and in the end the exit code. The retis is killed when the
connection is closed before.

Run as a program, with the socket's path, this file is the process that forks; without one it is
``retis``, a client that stands for the forked one and hands signals on to it.
"""

import atexit
import ctypes
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path

PATH = "RETIS_FORKING"  # the environment variable with the socket's path

_LARGEST = 1 << 20
_INTERVAL = 0.01  # s
_NAMESPACES = {"mnt": 0x20000, "net": 0x40000000}  # setns(2): CLONE_NEWNS, CLONE_NEWNET
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# The first would run, the second wants bcc, the third is no module of Python's.
_NOT_IMPORTED = {"retis_py.__main__", "retis_py.collect.child", "retis_py._compiled"}


class ForkedProcess:
    """A process that somebody else has started for us; its methods are as Popen's."""

    def __init__(self, path: str, arguments: Sequence[str], streams: Sequence[int]) -> None:
        """Start retis with these arguments and standard streams, in this folder."""
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(path)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
        message = json.dumps([[*arguments], os.getcwd(), {**os.environ}])  # noqa: PTH109 (quicker)
        socket.send_fds(self._connection, [message.encode()], [*streams])
        self.pid = int(self._connection.recv(32))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            ready, _, _ = select.select([self._connection], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired("retis", timeout or 0)
            self.returncode = int(self._connection.recv(32))
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self.send_signal(signal.SIGKILL)


@cache
def forking() -> str:
    """Return the path of the socket of a process that forks, which this process has started."""
    folder = tempfile.TemporaryDirectory(prefix="retis-forking-")
    path = Path(folder.name, "socket")
    forks = subprocess.Popen([sys.executable, __file__, path], stdin=subprocess.PIPE)

    def end() -> None:
        forks.communicate()  # it ends with its standard input
        folder.cleanup()

    atexit.register(end)
    while not path.exists():
        assert forks.poll() is None
        time.sleep(_INTERVAL)
    return str(path)


def client() -> list[str]:
    """Return the words of a command that is such a retis, in its own namespaces."""
    return ["env", f"{PATH}={forking()}", "/usr/bin/python3", "-IS", __file__]


# The process that forks


def _serve(path: str) -> None:
    _import_all()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(f"{path}.new")
        listening.listen()
        os.rename(f"{path}.new", path)  # noqa: PTH104 (of a text)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [], None)
            if sys.stdin in ready:
                return
            connection, _ = listening.accept()
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                _look_after_one(connection)
            connection.close()


def _look_after_one(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    client = int.from_bytes(credentials[:4], sys.byteorder)
    message, descriptors, _, _ = socket.recv_fds(connection, _LARGEST, 3)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become_retis(client, *json.loads(message), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    connection.send(str(pid).encode())
    status = None
    while status is None:
        gone, _, _ = select.select([connection], [], [], _INTERVAL)
        if gone:
            os.kill(pid, signal.SIGKILL)
        ended, found = os.waitpid(pid, os.WNOHANG)
        status = found if ended else None
    if not gone:
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become_retis(
    client: int,
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    descriptors: Sequence[int],
) -> None:
    code: object = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        _enter_namespaces(client)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        sys.argv = ["retis", *arguments]
        code = importlib.import_module("retis_compiled_by_host").run()
    except SystemExit as end:
        code = end.code
    except BaseException:  # as Python would; tests look for it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _enter_namespaces(pid: int) -> None:
    """Enter those of a process, where they are others."""
    libc = ctypes.CDLL(None, use_errno=True)
    for name, kind in _NAMESPACES.items():
        theirs, ours = f"/proc/{pid}/ns/{name}", f"/proc/self/ns/{name}"
        if os.readlink(theirs) == os.readlink(ours):  # noqa: PTH115 (of a text)
            continue
        with Path(theirs).open() as namespace:
            if libc.setns(namespace.fileno(), kind):
                raise OSError(ctypes.get_errno(), f"cannot enter {theirs}")


def _import_all() -> None:
    package = importlib.import_module("retis_py")
    for module in pkgutil.walk_packages(package.__path__, "retis_py."):
        if module.name not in _NOT_IMPORTED:
            importlib.import_module(module.name)
    importlib.import_module("retis_compiled_by_host")
    importlib.import_module("yaml")


# Its client


def _stand_for_retis(path: str) -> None:
    retis = ForkedProcess(path, sys.argv[1:], (0, 1, 2))
    for number in _HANDED_ON:
        signal.signal(number, lambda received, _: retis.send_signal(received))
    code = retis.wait()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    if PATH in os.environ:
        _stand_for_retis(os.environ[PATH])
    else:
        _serve(sys.argv[1])
