"""Commands to a running Open vSwitch daemon over its control socket, as ovs-appctl(8) sends them.

JSON-RPC 1.0 on a Unix stream socket, one request at a time, nothing between messages (Open vSwitch,
lib/unixctl.c)::

    {"id": 1, "method": "dpctl/get-flow", "params": ["system@ovs-system", "ufid:…"]}
    {"id": 1, "result": "recirc_id(0),…", "error": null}
    {"id": 1, "error": "getting flow (No such file or directory)"}
"""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import msgspec

# An answer that takes longer (s) or is larger (bytes) is none.
TIME_LIMIT = 5.0
SIZE_LIMIT = 1 << 20

_PIECE = 1 << 16


class CommandError(Exception):
    """The daemon answered that it cannot; holds its words, which are not to be trusted."""


class _Reply(msgspec.Struct):
    id: int
    result: str | None = None
    error: str | None = None


class Unixctl:
    """A connection to the control socket at ``path``, made when it is first needed.

    After an answer that is late or none the connection is closed; the next request makes a new
    one. ``time_limit`` (s) is that of a request.
    """

    def __init__(self, path: Path, time_limit: float = TIME_LIMIT) -> None:
        self._path = path
        self._time_limit = time_limit
        self._socket: socket.socket | None = None
        self._id = 0

    def request(self, method: str, *params: str) -> str:
        """Return what a command answers.

        Raises:
            CommandError: the daemon does not know the command, or it failed.
            OSError: it cannot be reached, ends the connection, or does not answer in time; what it
                sends is no answer.
        """
        self._id += 1
        text = msgspec.json.encode({"id": self._id, "method": method, "params": params})
        try:
            reply = self._transact(text)
        except OSError:
            self.close()
            raise
        if reply.error is not None:
            raise CommandError(reply.error.strip())
        return reply.result or ""

    def abort(self) -> None:
        """End a request that another thread waits in; it raises OSError."""
        connection = self._socket
        if connection is not None:
            with suppress(OSError):  # ended meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def peer(self) -> int:
        """The process that listens, as this PID namespace numbers it; 0 if it is not in here.

        Raises:
            OSError: it cannot be reached.
        """
        # struct ucred: pid, uid, gid (unix(7), SO_PEERCRED).
        return self._connected().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = _connect(self._path, self._time_limit)
        return self._socket

    def _transact(self, request: bytes) -> _Reply:
        end = time.monotonic() + self._time_limit
        connection = self._connected()
        connection.settimeout(self._time_limit)
        connection.sendall(request)
        received = bytearray()
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("it does not answer in time")
            connection.settimeout(left)
            try:
                piece = connection.recv(_PIECE)
            except TimeoutError:
                raise TimeoutError("it does not answer in time") from None
            if not piece:
                raise ConnectionError("it has closed the connection")
            received += piece
            if len(received) > SIZE_LIMIT:
                raise ConnectionError("its answer is too large")
            if not received.lstrip().startswith(b"{"):
                raise ConnectionError("its answer is not JSON-RPC")
            # Where a message ends it does not say; an object ends with a brace.
            if piece.rstrip().endswith(b"}") and (reply := _decode(received)) is not None:
                if reply.id != self._id:
                    raise ConnectionError("its answer is another request's")
                return reply


def _decode(text: bytearray) -> _Reply | None:
    """Decode a reply; None if it is incomplete (or can never be one)."""
    try:
        return msgspec.json.decode(text.decode(errors="replace"), type=_Reply)
    except msgspec.ValidationError:
        raise ConnectionError("its answer is not JSON-RPC") from None
    except msgspec.DecodeError:
        return None


def _connect(path: Path, time_limit: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(time_limit)
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            # A socket's address has 107 bytes at most, a path more.
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except OSError:
        connection.close()
        raise
    return connection
