"""Daemons are found by what they listen on, and their words understood."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import capabilities
from lab.unixctl_server import Answer, Refused, serve
from retis_py.kernel.unixctl import Unixctl
from retis_py.kernel.vswitchd import ControlSocket, Rules, Vswitchd, control_sockets

# Listens on each path, as a daemon of that name does, and on one that its child has.
LISTEN = """
import socket, sys
sockets = [socket.socket(socket.AF_UNIX) for _ in sys.argv[1:]]
for each, path in zip(sockets, sys.argv[1:]):
    each.bind(path)
    each.listen()
connected = socket.socket(socket.AF_UNIX)
connected.connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""
UFID = "00000001-0000-0002-0000-000300000004"
NO_DAEMON = {"OVS_RUNDIR": "/nonexistent"}


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path, whose name may be too long for a socket's address.
    with tempfile.TemporaryDirectory(prefix="retis-", dir="/tmp") as name:
        yield Path(name)


@contextmanager
def daemon(folder: Path, *names: str, prefix: Sequence[str] = ()) -> Iterator[int]:
    """A process whose program is called ovs-vswitchd, listening on these sockets in the folder."""
    program = folder / "ovs-vswitchd"
    if not program.exists():
        shutil.copy(Path(sys.executable).resolve(), program)
    command = [*prefix, str(program), "-I", "-c", LISTEN, *(str(folder / n) for n in names)]
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.stdin.close()


def found(folder: Path, environment: dict[str, str] | None = None) -> list[ControlSocket]:
    """Those in the folder: other daemons may run here."""
    return [
        each
        for each in control_sockets(environment=environment or NO_DAEMON)
        if str(folder) in str(each.path)
    ]


def test_the_control_socket_of_a_process(folder: Path) -> None:
    with daemon(folder, "any.ctl", "br0.mgmt", "br0.snoop") as pid:
        [control] = found(folder)
    assert control.pid == pid
    assert control.path == Path(f"/proc/{pid}/root{folder}/any.ctl")
    assert control.name == f"process {pid} ({folder}/ovs-vswitchd)"


def test_path_with_a_line_break(folder: Path) -> None:
    """It reads like other lines of /proc/net/unix, and like one that is none."""
    (folder / "x\n1: 2 3 zz 5 6 7 ").mkdir()
    with daemon(folder, "any.ctl", "x\n1: 2 3 zz 5 6 7 /a", "\n0") as pid:
        paths = {each.path.name for each in found(folder)}
        assert "any.ctl" in paths
        assert all(each.pid == pid for each in found(folder))


def test_several_processes(folder: Path) -> None:
    with daemon(folder, "1.ctl") as first, daemon(folder, "2.ctl") as second:
        assert sorted([first, second]) == [each.pid for each in found(folder)]


def test_process_in_other_namespaces(folder: Path) -> None:
    """Its socket is in a file system that only it sees."""
    capabilities.require("root")
    hidden = folder / "hidden"
    hidden.mkdir()
    script = f'mount -t tmpfs none {hidden} && exec "$@"'
    prefix = ["unshare", "--mount", "--pid", "--fork", "--", "sh", "-c", script, "sh"]
    with daemon(folder, "hidden/1.ctl", prefix=prefix):
        [control] = found(folder)
        assert not (hidden / "1.ctl").exists()
        assert control.path.is_socket()
        client = Unixctl(control.path)
        assert client.peer == control.pid
        client.close()


def test_run_directory(folder: Path) -> None:
    """For who does not see the process."""
    environment = {"OVS_RUNDIR": str(folder)}
    assert found(folder, environment) == []
    pidfile = folder / "ovs-vswitchd.pid"
    pidfile.write_text("17\n")
    assert found(folder, environment) == []  # left behind
    with serve(folder / "ovs-vswitchd.17.ctl", {}):
        [control] = found(folder, environment)
        assert (control.path, control.pid) == (folder / "ovs-vswitchd.17.ctl", None)
        for text in ("", "../17", "x"):
            pidfile.write_text(text)
            assert found(folder, environment) == []


def test_daemon_of_the_run_directory_is_there_once(folder: Path) -> None:
    with daemon(folder, "ovs-vswitchd.17.ctl") as pid:
        (folder / "ovs-vswitchd.pid").write_text("17\n")
        [control] = found(folder, {"OVS_RUNDIR": str(folder)})
        assert control.pid == pid


@contextmanager
def answering(
    folder: Path, pid: int | None = None, **answers: Answer
) -> Iterator[tuple[Vswitchd, list[tuple[str, ...]]]]:
    """A daemon that knows the commands ``get_flow``, ``detrace``, ``list_commands``."""
    names = {
        "get_flow": "dpctl/get-flow",
        "detrace": "ofproto/detrace",
        "list_commands": "list-commands",
    }
    path = folder / "d.ctl"
    with serve(path, {names[name]: answer for name, answer in answers.items()}) as server:
        client = Vswitchd(ControlSocket(path, pid, "it"), time_limit=0.5)
        yield client, server.requests
        client.close()


@pytest.mark.parametrize("has_it", [True, False])
def test_commands(folder: Path, has_it: bool) -> None:
    text = "The available commands are:\n  dpctl/get-flow         [dp] ufid\n"
    text += "  ofproto/detrace   UFID [pmd=PMD-ID]\n" * has_it
    with answering(folder, list_commands=text) as (client, _):
        client.learn_commands()
        assert client.has_detrace == has_it


@pytest.mark.parametrize("answer", ["", "ofproto/detrace", Refused("no"), None])
def test_what_is_no_daemon(folder: Path, answer: Answer) -> None:
    with (
        answering(folder, list_commands=answer) as (client, _),
        pytest.raises(OSError, match=r"get-flow|refuses|closed"),
    ):
        client.learn_commands()


def test_socket_of_another_process(folder: Path) -> None:
    with answering(folder, os.getpid(), list_commands="dpctl/get-flow") as (client, _):
        client.learn_commands()
    with answering(folder, 1, list_commands="dpctl/get-flow") as (client, requests):
        with pytest.raises(OSError, match="another process"):
            client.learn_commands()
        assert requests == []


def test_flow(folder: Path) -> None:
    with answering(folder, get_flow="in_port(1), actions:2\n") as (client, requests):
        assert client.flow(UFID) == "in_port(1), actions:2"
        assert requests == [("dpctl/get-flow", "system@ovs-system", f"ufid:{UFID}")]
    with answering(folder, get_flow=Refused("getting flow (No such file)")) as (client, _):
        assert client.flow(UFID) is None


@pytest.mark.parametrize(
    ("answer", "lines", "later"),
    [
        ("br0\n  a=1 actions=2\n  b\nbr1\n  c\n", ["br0", "a=1 actions=2", "b", "br1", "c"], False),
        ("Cache was not found for system@ovs-system\n", [], True),
        ("UFID was not found for system@ovs-system\n", [], False),
        ("UFID was not found for netdev@ovs-netdev\nbr0\n  a\n", ["br0", "a"], False),
        ("UFID was not found for netdev@x\nCache was not found for system@y\n", [], True),
        ("", [], False),
        (Refused("failed to parse ufid"), [], False),
    ],
)
def test_rules(folder: Path, answer: Answer, lines: list[str], later: bool) -> None:
    with answering(folder, detrace=answer) as (client, requests):
        assert client.rules(UFID) == Rules(lines, later)
        assert requests == [("ofproto/detrace", f"ufid:{UFID}")]
