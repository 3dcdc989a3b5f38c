"""The real ovs-vswitchd, with a datapath that it makes up: no kernel module, no network."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from retis_py.kernel.vswitchd import Vswitchd, control_sockets
from vm import openvswitch

TIME_LIMIT = 20.0
DATAPATH = "dummy@ovs-dummy"
PACKET = (
    "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800),"
    "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=2)"
)


@dataclass(frozen=True)
class Switch:
    """Programs of Open vSwitch, with a run directory."""

    build: openvswitch.Build
    folder: Path

    def run(self, program: str, *arguments: str) -> str:
        command = [str(self.build.folder / program), *arguments]
        return subprocess.check_output(command, text=True, env=self.environment, timeout=TIME_LIMIT)

    def ask(self, *words: str) -> str:
        return self.run("ovs-appctl", *words)

    @contextmanager
    def running(self, program: str, *arguments: str) -> Iterator[int]:
        command = [str(self.build.folder / program), *arguments, "--pidfile", "--no-chdir"]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stderr=quiet, env=self.environment) as process:
            try:
                wait_until((self.folder / f"{program}.{process.pid}.ctl").exists)
                yield process.pid
            finally:
                process.terminate()

    @property
    def environment(self) -> dict[str, str]:
        names = ("RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR", "PKGDATADIR")
        return {**os.environ, **{f"OVS_{name}": str(self.folder) for name in names}}


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIME_LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    """A bridge with two ports that nothing is connected to."""
    build = openvswitch.cached()
    if build is None:
        pytest.skip("Open vSwitch is not built; run tests/vm/openvswitch.py")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="retis-ovs-", dir="/tmp"))
        made = Switch(build, Path(folder))
        socket = f"unix:{folder}/db.sock"
        made.run("ovsdb-tool", "create", f"{folder}/conf.db", str(build.schema))
        database = f"{folder}/conf.db"
        stack.enter_context(made.running("ovsdb-server", database, f"--remote=p{socket}"))
        made.run("ovs-vsctl", f"--db={socket}", "--no-wait", "init")
        options = ("--enable-dummy=override", "--disable-system")
        stack.enter_context(made.running("ovs-vswitchd", socket, *options))
        ports = "-- add-port br p{0} -- set interface p{0} type=dummy ofport_request={0}"
        commands = "add-br br -- set bridge br datapath_type=dummy fail-mode=secure"
        commands += f" {ports.format(1)} {ports.format(2)}"
        made.run("ovs-vsctl", f"--db={socket}", "--timeout=20", *commands.split())
        made.run("ovs-ofctl", "add-flow", "br", "ip,in_port=1,actions=output:2")
        yield made


@pytest.fixture
def client(switch: Switch) -> Iterator[Vswitchd]:
    [where] = [each for each in control_sockets() if str(switch.folder) in str(each.path)]
    made = Vswitchd(where, DATAPATH)
    made.learn_commands()
    yield made
    made.close()


def test_flow_and_rules(switch: Switch, client: Vswitchd) -> None:
    assert client.has_detrace
    switch.ask("netdev-dummy/receive", "p1", PACKET)
    [ufid] = re.findall(r"^ufid:(\S+),", switch.ask("dpctl/dump-flows", "-m"), re.MULTILINE)
    switch.ask("revalidator/pause")
    assert client.flow(ufid) == switch.ask("dpctl/get-flow", f"ufid:{ufid}").strip()
    switch.ask("revalidator/resume")
    # Before a revalidator has seen the flow in use its rules are not put together.
    assert client.rules(ufid).later

    def known() -> bool:
        switch.ask("netdev-dummy/receive", "p1", PACKET)
        switch.ask("revalidator/wait")
        return not client.rules(ufid).later

    wait_until(known)
    bridge, rule = client.rules(ufid).lines
    assert bridge == "br"
    assert rule.endswith("ip,in_port=1,actions=output:2")


def test_flow_that_is_not_there(client: Vswitchd) -> None:
    ufid = "00000001-0000-0002-0000-000300000004"
    assert client.flow(ufid) is None
    assert client.rules(ufid) == ([], False)


def test_datapath_that_is_not_there(switch: Switch) -> None:
    [where] = [each for each in control_sockets() if str(switch.folder) in str(each.path)]
    client = Vswitchd(where)
    assert client.flow("00000001-0000-0002-0000-000300000004") is None
    client.close()
