"""What a false ovs-vswitchd answers on its control socket: an answer, or OSError."""

import socket
from pathlib import Path

from fuzz.target import Target, assert_safe
from retis_py.events.event import Event, decode, encode
from retis_py.events.sections.common import Common
from retis_py.events.sections.ovs_detrace import OvsDetrace, Ufid
from retis_py.events.text import TextFormat, event_text
from retis_py.kernel.vswitchd import ControlSocket, Vswitchd

_BETWEEN = b"\x1e"
_KNOWS = b'{"id":1,"result":"dpctl/get-flow [dp] ufid\\n ofproto/detrace UFID","error":null}'
_FLOW = b'{"id":2,"result":"recirc_id(0),in_port(1), actions:2","error":null}'
_RULES = b'{"id":3,"result":"bridge br0\\ntable=0 cookie=1 actions=drop\\n","error":null}'
_HOSTILE = b'{"id":%d,"result":"\\u001b[2J \\u202e\\r\\n \\u0085\\u2028","error":null}'
SEEDS = (
    _BETWEEN.join((b"", _HOSTILE % 2, _HOSTILE % 3)),
    _KNOWS + _BETWEEN + _FLOW + _BETWEEN + _RULES,
    _BETWEEN + _FLOW + _BETWEEN + b'{"id":3,"result":"Cache was not found for a\\ntable=0\\n"}',
    b'{"id":1,"result":"dpctl/get-flow [dp] ufid\\n ofproto/detrace UFID","error":null}',
    b'{"id":2,"result":"recirc_id(0),in_port(1), actions:2","error":null}',
    b'{"id":2,"error":"getting flow (No such file or directory)"}',
    b'{"id":3,"result":"Cache was not found for a\\ntable=0 cookie=1\\n","error":null}',
    b'{"id":1,"result":"a"}' + _BETWEEN + b'{"id":2,"result":"b"}' + _BETWEEN + b'{"id":3}',
)
_WORDS = (
    b'"id":1', b'"result":', b'"error":', b"null", b"\\u001b[2J", b"\\ud800", b"\xff", b"}", b"{",
    b'"', b"UFID was not found", b"Cache was not found", b"\\n", b"[[[[[[[[[[[[[[",
)  # fmt: skip


def target() -> Target:
    """See the module."""
    return Target(check, SEEDS, (*_WORDS, _BETWEEN), max_length=4000)


def check(data: bytes) -> None:
    """Ask for all there is; the pieces of the input are the answers."""
    answers = data.split(_BETWEEN)
    daemon = Vswitchd(ControlSocket(Path("/nonexistent/socket"), None, "made"), time_limit=1)
    flow, rules = None, None
    for number in range(3):
        ours, theirs = socket.socketpair()
        with theirs:
            client = daemon._unixctl
            client.close()
            client._socket = ours
            theirs.sendall(answers[number] if number < len(answers) else b"")
            theirs.shutdown(socket.SHUT_WR)
            try:
                match number:
                    case 0:
                        daemon.learn_commands()
                    case 1:
                        flow = daemon.flow("00000001-0000-0002-0000-000300000004")
                    case _:
                        rules = daemon.rules("00000001-0000-0002-0000-000300000004")
            except OSError:
                pass
            finally:
                daemon.close()
    if flow is not None:
        lines = rules.lines if rules else []
        event = Event(Common(1))
        event.ovs_detrace = OvsDetrace(Ufid(1, 2, 3, 4), 5, 6, flow, lines)
        again = decode(encode(event))
        assert again == event
        assert_safe(event_text(again, TextFormat()))
