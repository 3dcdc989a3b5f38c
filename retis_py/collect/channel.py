"""What the collecting process and the one that decodes tell each other, beside the spool.

And what the latter and those that help it tell each other.
"""

import contextlib
import select
import socket
from typing import Any

import msgspec

_LARGEST = 1 << 16
_PATIENCE = 10.0  # s, that the other one has to take a message when its queue is full


class Go(msgspec.Struct, tag=True, frozen=True):
    """To the decoder: all is loaded, open the outputs; the spool's first chunk is there."""


class Command(msgspec.Struct, tag=True, frozen=True):
    """To the decoder: a command was started that is to end with the collection.

    It leads a group of its own (``has_group``), or is one process.
    """

    pid: int
    has_group: bool


class Cancel(msgspec.Struct, tag=True, frozen=True):
    """To the decoder: stop where you are; what is not decoded stays in the spool."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """From the decoder: the outputs are open."""


class Enough(msgspec.Struct, tag=True, frozen=True):
    """From the decoder: no more events are wanted."""


class Functions(msgspec.Struct, tag=True, frozen=True):
    """From the decoder: functions that showed in stacks and are to be probed."""

    names: list[str]


class Failed(msgspec.Struct, tag=True, frozen=True):
    """From the decoder, the last message: it cannot go on.

    ``error`` is the class of the error, of retis_py.errors, or empty for a bug; ``written`` how
    many events are in the event file.
    """

    error: str
    message: str
    written: int = 0


class Done(msgspec.Struct, tag=True, frozen=True):
    """From the decoder, the last message: nothing is left to do, or it was told to stop.

    ``pieces`` is how many files a rotated output became.
    """

    pieces: int = 0


class Records(msgspec.Struct, tag=True, frozen=True):
    """To a helper (decoding_pool.py): ``count`` records are in the slot, ``size`` bytes in all."""

    slot: int
    count: int
    size: int


class Lines(msgspec.Struct, tag=True, frozen=True):
    """From a helper: so many bytes of lines are where the records were, or nothing (0)."""

    size: int


Message = Go | Command | Cancel | Ready | Enough | Functions | Failed | Done | Records | Lines

_decode: Any = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode


class Gone(msgspec.Struct, frozen=True):
    """Stands for a message where the other process has ended."""


class Channel:
    """One end of the connection."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._gone = False

    def send(self, message: Message) -> None:
        """Send a message; dropped where nobody is there any more."""
        self._socket.settimeout(_PATIENCE)
        with contextlib.suppress(OSError):
            self._socket.send(_encode(message))

    def receive(self, timeout: float | None) -> Message | Gone | None:
        """Return the next message, waiting ``timeout`` (s) at most; None where none came.

        A signal ends the wait early only by what its handler raises.
        """
        if self._gone:
            return Gone()
        if not self._poll.poll(None if timeout is None else timeout * 1e3):
            return None
        self._socket.settimeout(None)
        try:
            data = self._recv()
        except OSError:
            data = b""
        if not data:
            self._gone = True
            return Gone()
        message: Message = _decode(data)
        return message

    def _recv(self) -> bytes:
        try:
            return self._socket.recv(_LARGEST)
        except ConnectionResetError:
            # It has ended with messages of ours unread, which is told once, before its last ones.
            return self._socket.recv(_LARGEST)

    def fileno(self) -> int:
        """Return this end's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def channel_pair() -> tuple[Channel, Channel]:
    """Return the two ends."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(one), Channel(other)
