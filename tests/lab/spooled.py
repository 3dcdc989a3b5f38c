"""Collections whose events wait in a spool: sent, held up, read again from wherever they are."""

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lab import cli, netns
from lab.collection import namespace_number, sender
from retis_py.collect.spool_format import Control

# A port that is only ours, so that nothing else on the machine counts, the same tests run by
# somebody else neither; few, so that programs come from the cache. And nobody answers.
PORT = 41873 + os.getpid() % 16
PROBE = ("-c", "skb,dev,ns", "-p", "tp:net:netif_rx", "-f", f"udp dst port {PORT}")

Events = list[dict[str, Any]]


@contextmanager
def quiet_link() -> Iterator[netns.Pair]:
    """Two namespaces of which the second one answers nothing."""
    with netns.pair(ipv6=False) as made:
        made.right.run("nft", "table ip quiet {\nchain out {\ntype filter hook output priority 0;"
                       " policy drop;\n}\n}")  # fmt: skip
        yield made


def send(link: netns.Pair, count: int) -> None:
    words = sender(link.left, "udp-many", link.right.ip4, PORT, 200, count)
    subprocess.run(shlex.split(words), check=True)


def control_of(spool: Path) -> Control:
    """How far a running collection is."""
    with spool.open("rb") as file:
        return Control(file.fileno(), writable=False)


def wait_for_received(spool: Path, count: int) -> None:
    """Wait until a collection has moved so many events to its spool."""
    control = control_of(spool)
    netns.wait_until(lambda: control.received >= count, f"{count} events in the spool")


def wait_for_decoded(spool: Path) -> None:
    """Wait until a collection has decoded all that it has received, and has room again."""
    control = control_of(spool)
    netns.wait_until(lambda: is_decoded(control), "the decoder", 60)


def is_decoded(control: Control) -> bool:
    """Whether all that was received is decoded, and nothing waits for room."""
    return control.events == control.received and not control.blocked


def decoder_of(process: subprocess.Popen[bytes]) -> int:
    """The child that decodes."""
    [decoder] = children_of(process.pid)
    return decoder


def children_of(pid: int) -> list[int]:
    """The processes that this one has started and not waited for."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def load(path: Path) -> Events:
    """The events of a file; a last line cut short is left out, as our reader does."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines][1:]


def of_spool(spool: Path) -> Events:
    """The events of a spool that was left."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "of-spool"
        result = cli.retis("print", spool, "-o", copy)
        assert result.exit_code == 0, result.stderr
        assert "is the spool of a collection that ended early" in result.stderr
        return load(copy)


def here(link: netns.Pair, events: Events) -> Events:
    number = namespace_number(link.right)
    return [event for event in events if event["netns"]["inum"] == number]


def times(events: Events) -> list[int]:
    return [event["common"]["timestamp"] for event in events]


def losses(stderr: str) -> int:
    found = re.findall(r"\[WARN\] ([\d,]+) event\(s\) lost at \S+: ring full", stderr)
    return sum(int(count.replace(",", "")) for count in found)


def assert_all(link: netns.Pair, first: Events, rest: Events, count: int) -> None:
    """The file and the spool together hold all, at most one batch of the decoder's twice."""
    both = set(times(here(link, first))) | set(times(here(link, rest)))
    assert len(both) == count
    assert len(here(link, first)) + len(here(link, rest)) - count <= 2000
    assert times(first) == sorted(times(first))
    assert times(rest) == sorted(times(rest))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
