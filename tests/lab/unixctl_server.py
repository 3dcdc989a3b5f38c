"""A control socket as ovs-vswitchd has one, whose answers a test makes up.

with serve(path, {"list-commands": "dpctl/get-flow", "version": Refused("no")}) as server:
    ...
    assert server.requests == [("list-commands",)]

An answer is text; ``Refused`` text; bytes, which are sent as they are; None, which ends the
connection; or a function of the request's parameters that returns one of these.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path


class Refused(str):
    """An answer that says that the command failed."""

    __slots__ = ()


Reply = str | bytes | None
Answer = Reply | Callable[..., Reply]
Answers = Mapping[str, Answer]


class Server:
    """Listens at a path; ``requests`` are what it was asked, method and parameters."""

    def __init__(self, path: Path, answers: Answers) -> None:
        self.requests: list[tuple[str, ...]] = []
        self.connections = 0
        self._answers = answers
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._start(self._accept)

    def stop(self) -> None:
        """End all connections and listen no more."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, function: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=function, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        received = ""
        with connection, suppress(OSError):
            while piece := connection.recv(4096):
                received += piece.decode()
                with suppress(json.JSONDecodeError):  # only a part of it yet
                    request, end = json.JSONDecoder().raw_decode(received)
                    received = received[end:]
                    self.requests.append((request["method"], *request["params"]))
                    answer = self._answer(*self.requests[-1])
                    if answer is None:
                        return
                    connection.sendall(_message(request["id"], answer))

    def _answer(self, method: str, *params: str) -> Reply:
        answer = self._answers.get(method, Refused(f'"{method}" is not a valid command'))
        return answer(*params) if callable(answer) else answer


def _message(number: int, answer: str | bytes) -> bytes:
    if isinstance(answer, bytes):
        return answer
    if isinstance(answer, Refused):
        return json.dumps({"id": number, "error": answer}).encode()
    return json.dumps({"id": number, "result": answer, "error": None}).encode()


@contextmanager
def serve(path: Path, answers: Answers) -> Iterator[Server]:
    """Listen at ``path`` during the block."""
    server = Server(path, answers)
    try:
        yield server
    finally:
        server.stop()
        path.unlink(missing_ok=True)
