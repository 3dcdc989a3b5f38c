"""The client of control sockets against a real socket, whatever comes out of it."""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.unixctl_server import Answers, Refused, Server, serve
from retis_py.kernel.unixctl import SIZE_LIMIT, CommandError, Unixctl

REPLY = b'{"id":1,"result":"yes","error":null}'


@contextlib.contextmanager
def talking(answers: Answers, time_limit: float = 5.0) -> Iterator[tuple[Unixctl, Server]]:
    # Not tmp_path, whose name may be too long for the server's bind().
    with tempfile.TemporaryDirectory(prefix="retis-", dir="/tmp") as folder:
        path = Path(folder) / "daemon.ctl"
        client = Unixctl(path, time_limit)
        try:
            with serve(path, answers) as server:
                yield client, server
        finally:
            client.close()


def test_many_requests_take_one_connection() -> None:
    with talking({"echo": lambda *words: " ".join(words)}) as (client, server):
        assert client.request("echo", "a", "ü\n\"'") == "a ü\n\"'"
        assert client.request("echo") == ""
        assert server.requests == [("echo", "a", "ü\n\"'"), ("echo",)]
        assert server.connections == 1


def test_refusal() -> None:
    with talking({"flow": Refused("no flow\n"), "other": "fine"}) as (client, server):
        with pytest.raises(CommandError, match=r"^no flow$"):
            client.request("flow")
        with pytest.raises(CommandError, match="unknown"):
            client.request("unknown")
        assert client.request("other") == "fine"
        assert server.connections == 1


def test_answer_in_pieces() -> None:
    """Of several reads, one of which ends with a brace that is not the last."""
    text = "}" * 200_000 + "ü" * 100_000
    with talking({"dump": text}) as (client, _):
        assert client.request("dump") == text


@pytest.mark.parametrize("text", [b"\xff", b"\\ud800"])
def test_text_that_is_none(text: bytes) -> None:
    """What is taken can be written to a file."""
    reply = b'{"id":1,"result":"' + text + b'","error":null}'
    with talking({"a": reply, "b": "fine"}, time_limit=1) as (client, _):
        with contextlib.suppress(OSError):
            client.request("a").encode()
        assert client.request("b") == "fine"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "closed"),
        (b"", "in time"),
        (REPLY[:-1], "in time"),
        (b'{"id":1,"result":}', "in time"),
        (REPLY + b"}", "in time"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not JSON-RPC"),
        (b"[]", "not JSON-RPC"),
        (b"\x00", "not JSON-RPC"),
        (b'{"id":"1","result":"yes"}', "not JSON-RPC"),
        (b'{"id":1,"result":{"yes":1}}', "not JSON-RPC"),
        (b'{"result":"yes"}', "not JSON-RPC"),
        (b'{"id":7,"result":"yes"}', "another request's"),
        (b"{" + b'"' * SIZE_LIMIT + b'"', "too large"),
        (b"{" * (SIZE_LIMIT + 1), "too large"),
    ],
)
def test_what_is_no_answer(answer: bytes | None, words: str) -> None:
    """It is told, and the next request has a connection of its own."""
    with talking({"bad": answer, "good": "fine"}, time_limit=1) as (client, server):
        started = time.monotonic()
        with pytest.raises(OSError, match=words):
            client.request("bad")
        assert time.monotonic() - started < 10
        assert client.request("good") == "fine"
        assert server.connections == 2


def test_time_limit_is_of_the_whole_answer() -> None:
    """A daemon that always sends a little more takes no longer."""

    def drip() -> bytes:
        time.sleep(0.2)
        return b"{"

    with talking({"slow": drip}, time_limit=0.1) as (client, _):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            client.request("slow")
        assert time.monotonic() - started < 10


def test_daemon_is_started_again() -> None:
    with tempfile.TemporaryDirectory(prefix="retis-", dir="/tmp") as folder:
        path = Path(folder) / "daemon.ctl"
        client = Unixctl(path)
        with pytest.raises(FileNotFoundError):
            client.request("version")
        with serve(path, {"version": "1"}):
            assert client.request("version") == "1"
        with pytest.raises(OSError, match=r"closed|Broken pipe|reset"):
            client.request("version")
        with serve(path, {"version": "2"}):
            assert client.request("version") == "2"
        client.close()


def test_request_is_ended_by_another_thread() -> None:
    import threading  # noqa: PLC0415

    with talking({"wait": b"", "good": "fine"}) as (client, server):
        failed: list[OSError] = []

        def ask() -> None:
            try:
                client.request("wait")
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        end = time.monotonic() + 5
        while not server.requests and time.monotonic() < end:
            time.sleep(0.01)
        client.abort()
        thread.join(4)
        assert failed
        assert client.request("good") == "fine"


def test_long_path() -> None:
    """Longer than a socket's address can be."""
    with tempfile.TemporaryDirectory(prefix="retis-", dir="/tmp") as folder:
        short, long = Path(folder) / "s.ctl", Path(folder) / ("x" * 100) / ("y" * 100)
        long.mkdir(parents=True)
        with serve(short, {"version": "1"}):
            short.rename(long / "s.ctl")
            client = Unixctl(long / "s.ctl")
            assert client.request("version") == "1"
            client.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
REPLIES = st.fixed_dictionaries(
    {}, optional={"id": st.just(1) | JSON, "result": JSON, "error": JSON, "more": JSON}
)


@settings(max_examples=80, deadline=None)
@given(
    answer=st.binary(max_size=300)
    | REPLIES.map(lambda reply: json.dumps(reply).encode())
    | REPLIES.flatmap(
        lambda reply: st.binary(max_size=5).map(lambda end: json.dumps(reply).encode() + end)
    )
)
def test_garbage(answer: bytes) -> None:
    """Text comes out, or one of the two errors."""
    with talking({"any": answer}, time_limit=0.02) as (client, _):
        try:
            text = client.request("any")
        except (CommandError, OSError):
            return
        assert text.encode() is not None
        reply = json.loads(answer.decode(errors="replace"))
        assert text == (reply.get("result") or "")
