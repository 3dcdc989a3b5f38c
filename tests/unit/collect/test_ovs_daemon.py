"""ovs-vswitchd's side: a stand-in receives, puts and executes, this kernel's probes see it."""

import ctypes
import logging
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from lab import ovs_daemon
from lab.capabilities import require
from lab.ovs_daemon import PROGRAM, Daemon
from retis_py.collect.compiled import Compiled
from retis_py.collect.decode import Decoder
from retis_py.collect.known_probes import KnownProbes, tell
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.losses import LossCause, read_losses
from retis_py.collect.program import ProgramOptions, assemble
from retis_py.collect.ring import RingBuffer
from retis_py.collect.user_probes import UserProbes
from retis_py.collectors.collector import Part
from retis_py.collectors.ovs import OvsCollector
from retis_py.events.event import Event
from retis_py.events.sections.ovs import FlowOperation, RecvUpcall
from retis_py.probes.available import Types
from retis_py.probes.probe import ProbeType
from unit.collect.running import Runner, compile_text, drain
from unit.collectors.openvswitch import OvsTypes, openvswitch

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="has x86-64's registers")

RING = 1 << 16
MISS = 0  # DPIF_UC_MISS
BUFFER = 4096  # from one message to the next in the daemon's memory
KEY_SIZE = 150
HASH = """
int hash_user(struct bpf_raw_tracepoint_args *ctx)
{
	u32 hash = 0;

	return hash_user_packet((void *)ctx->args[0], ctx->args[1], &hash) ? hash : 0;
}
"""


@pytest.fixture(scope="module")
def program(types: Types) -> tuple[Compiled, tuple[Part, ...]]:
    require("root")
    ovs = OvsTypes(types.vmlinux, openvswitch(types.vmlinux))
    made = assemble([OvsCollector(True)], {ProbeType.RAW_TRACEPOINT}, ovs, ProgramOptions())
    return compile_text(made.text + HASH, (*made.functions, "hash_user")), made.parts


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ovs_daemon.build(tmp_path_factory.mktemp("daemon"))


@dataclass
class Switch:
    """The program, loaded, and the daemon: its part in the kernel is played by the test."""

    loader: Loader
    known: KnownProbes
    decoder: Decoder
    probes: UserProbes
    ring: RingBuffer
    hash: Runner

    def queue(self, packet: bytes) -> int:
        """Hand a packet to user space, and return its hash."""
        buffer = ctypes.create_string_buffer(packet)
        number = self.hash(ctypes.addressof(buffer), len(packet)) & 0xFFFFFFFF
        key = struct.pack("=I", number)
        counts = dict(self.loader.maps["ovs_queued"].items()).get(key, bytes(16))
        last, queued, taken = struct.unpack("=QII", counts)
        value = struct.pack("=QII", last + 1, queued + 1, taken)
        self.loader.maps["ovs_queued"].update(key, value)
        return number

    def events(self) -> list[Event]:
        tell(self.decoder, self.known.describe())
        self.known.told()
        return [self.decoder.decode(record) for record in drain(self.ring)]


@pytest.fixture
def switch(program: tuple[Compiled, tuple[Part, ...]], open_descriptors: None) -> Iterator[Switch]:
    compiled, parts = program
    with Loader(compiled, {"events": RING, "losses": 64}) as loader:
        known = KnownProbes([])
        requests = [
            replace(request, program=PROGRAM) for request in OvsCollector(True).usdt_probes()
        ]
        probes = UserProbes(loader, known, requests)
        ring = RingBuffer(loader.maps["events"], RING)
        runner = Runner(loader.load("hash_user", ProgramType.RAW_TRACEPOINT))
        yield Switch(loader, known, Decoder(parts, [], hex), probes, ring, runner)
        ring.close()


@pytest.fixture
def daemon(switch: Switch, path: Path) -> Iterator[Daemon]:
    with ovs_daemon.running(path) as daemon:
        switch.probes.attach()
        yield daemon


def packet(number: int, size: int = 100) -> bytes:
    return bytes(12) + b"\x12\x34" + number.to_bytes(4, "big") + bytes(size - 18)


def receive(daemon: Daemon, slot: int, data: bytes, flow: int) -> None:
    """A message in the slot-th buffer: the key, 200 bytes further the packet."""
    key = bytes(KEY_SIZE - 1) + bytes([flow])
    daemon.write(slot * BUFFER, key + bytes(200 - KEY_SIZE) + data)
    daemon.receive(MISS, slot * BUFFER + 200, len(data), slot * BUFFER, KEY_SIZE)


def put(daemon: Daemon, flow: int) -> None:
    """The daemon has copied the key."""
    place = 900_000 + flow * 1024
    daemon.write(place, bytes(KEY_SIZE - 1) + bytes([flow]))
    daemon.put(place, KEY_SIZE)


def execute(daemon: Daemon, slot: int, size: int = 100) -> None:
    daemon.execute(slot * BUFFER + 200, size)


def received(event: Event) -> RecvUpcall:
    assert isinstance(event.ovs, RecvUpcall)
    return event.ovs


def operation(event: Event) -> FlowOperation:
    assert isinstance(event.ovs, FlowOperation)
    return event.ovs


def test_a_packet_on_its_way(switch: Switch, daemon: Daemon, path: Path) -> None:
    queue_id = switch.queue(packet(1))
    receive(daemon, 0, packet(1), flow=1)
    put(daemon, flow=1)
    execute(daemon, 0)
    events = switch.events()
    assert [event.userspace.symbol for event in events if event.userspace] == [
        "dpif_recv:recv_upcall",
        "dpif_netlink_operate__:op_flow_put",
        "dpif_netlink_operate__:op_flow_execute",
    ]
    for event in events:
        assert event.kernel is None
        assert event.userspace is not None
        assert event.common.task is not None
        assert event.userspace.probe_type == "usdt"
        assert event.userspace.path == str(path)
        assert event.userspace.pid == event.userspace.tid == event.common.task.tgid == daemon.pid
        assert event.common.task.comm == PROGRAM
        assert path.stat().st_size > event.userspace.ip - 0x400000 > 0
    began = events[0].common.timestamp
    assert received(events[0]) == RecvUpcall(MISS, 100, KEY_SIZE, queue_id, began, 0)
    assert operation(events[1]) == FlowOperation("put", queue_id, began, 0)
    assert operation(events[2]) == FlowOperation("exec", queue_id, began, 0)
    # The last one is gone, and the datapath knows what comes back.
    assert not dict(switch.loader.maps["ovs_queued"].items())
    key = struct.pack("=III", daemon.pid, queue_id, 0)
    [(_, (last, count, taken))] = [
        (k, struct.unpack("=QII", v)) for k, v in switch.loader.maps["ovs_executions"].items()
    ]
    assert (last, count, taken) == (events[2].common.timestamp, 1, 0)
    ids = dict(switch.loader.maps["ovs_execution_ids"].items())
    assert struct.unpack("=QII", ids[key])[1] == queue_id
    assert struct.pack("=I", daemon.pid) in dict(
        switch.loader.maps["ovs_executing_threads"].items()
    )


def test_others_make_no_events(switch: Switch, daemon: Daemon) -> None:
    queue_id = switch.queue(packet(1))
    receive(daemon, 0, packet(2), flow=2)
    receive(daemon, 1, packet(1), flow=1)
    receive(daemon, 2, packet(3), flow=1)
    for flow in (2, 1):
        put(daemon, flow)
    for slot in (0, 1, 2):
        execute(daemon, slot)
    events = switch.events()
    assert [e.ovs.queue_id for e in events if e.ovs] == [queue_id] * 3  # type: ignore[union-attr]
    # Their places in the batch count.
    assert [e.ovs.batch_idx for e in events if e.ovs] == [1] * 3  # type: ignore[union-attr]


def test_a_flow_is_put_for_the_first_packet_of_its_key(switch: Switch, daemon: Daemon) -> None:
    for number in (1, 2):
        switch.queue(packet(number))
        receive(daemon, number - 1, packet(number), flow=7)
    put(daemon, 7)
    first, second, done = switch.events()
    assert operation(done).queue_id == received(first).queue_id != received(second).queue_id


def test_the_same_packet_twice(switch: Switch, daemon: Daemon) -> None:
    """Each has a name of its own, whatever is executed first."""
    queued = {switch.queue(packet(1)) for _ in range(3)}
    assert len(queued) == 1
    for slot in range(3):
        receive(daemon, slot, packet(1), flow=1)
    ids = [received(event).queue_id for event in switch.events()]
    assert len(set(ids)) == 3
    for slot in (2, 0, 1):
        execute(daemon, slot)
    assert [operation(event).queue_id for event in switch.events()] == [ids[2], ids[0], ids[1]]
    entries = switch.loader.maps["ovs_execution_ids"].items()
    assert {struct.unpack("=III", key)[2]: struct.unpack("=QII", value)[1]
            for key, value in entries} == {0: ids[2], 1: ids[0], 2: ids[1]}  # fmt: skip


def test_batches(switch: Switch, daemon: Daemon) -> None:
    def got(slot: int, number: int) -> tuple[int, int]:
        switch.queue(packet(number))
        receive(daemon, slot, packet(number), flow=1)
        event = received(switch.events()[0])
        return event.batch_ts, event.batch_idx

    began, index = got(0, 1)
    assert index == 0
    assert got(1, 2) == (began, 1)
    # The thread had no use for the second one.
    assert got(1, 3) == (began, 1)
    assert got(2, 4) == (began, 2)
    # It had nothing to answer.
    second, index = got(0, 5)
    assert (second > began, index) == (True, 0)
    assert [got(slot, 10 + slot) for slot in range(1, 64)] == [(second, n) for n in range(1, 64)]
    third, index = got(64, 100)
    assert (third > second, index) == (True, 0)
    execute(daemon, 64)
    assert operation(switch.events()[0]).batch_ts == third
    fourth, index = got(65, 101)
    assert (fourth > third, index) == (True, 0)


def test_what_the_datapath_refused_is_forgotten(switch: Switch, daemon: Daemon) -> None:
    for _ in range(2):
        switch.queue(packet(1))
        receive(daemon, 0, packet(1), flow=1)
        execute(daemon, 0)
    [(_, value)] = switch.loader.maps["ovs_executions"].items()
    assert struct.unpack("=QII", value)[1:] == (2, 1)


def test_a_full_map_is_a_loss(switch: Switch, daemon: Daemon) -> None:
    batches = switch.loader.maps["ovs_batches"]
    for tid in range(1 << 30, (1 << 30) + 2000):
        try:
            batches.update(struct.pack("=I", tid), bytes(batches.definition.value_size))
        except OSError:
            break
    switch.queue(packet(1))
    receive(daemon, 0, packet(1), flow=1)
    assert not switch.events()
    losses = read_losses(switch.loader, [], switch.known)
    assert losses == {("usdt:dpif_recv:recv_upcall", LossCause.MAP_FULL): 1}


def attached(switch: Switch) -> list[str]:
    switch.probes._next = 0.0
    return sorted({str(p) for attached in switch.probes.look_if_due() for p in attached.probes})


def test_daemons_come_and_go(
    switch: Switch, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert not switch.probes.attach()
    assert f"no process runs {PROGRAM}" in caplog.text
    with ovs_daemon.running(path) as first:
        assert len(attached(switch)) == 3
        assert f"process {first.pid} ({path}): 3 USDT probe(s) attached" in caplog.text
        with ovs_daemon.running(path) as second:
            assert not attached(switch)
            assert f"process {second.pid} ({path}): followed too" in caplog.text
            switch.queue(packet(1))
            receive(second, 0, packet(1), flow=1)
            [event] = switch.events()
            assert event.userspace is not None
            assert event.userspace.pid == second.pid
        assert not attached(switch)
        assert f"process {second.pid} ({path}) has ended" in caplog.text
        # Another file of the same program.
        other = ovs_daemon.build(tmp_path)
        with ovs_daemon.running(other) as third:
            assert len(attached(switch)) == 3
            for number, daemon in enumerate((first, third)):
                switch.queue(packet(number))
                receive(daemon, 0, packet(number), flow=1)
            paths = [e.userspace.path for e in switch.events() if e.userspace]
            assert paths == [str(path), str(other)]


def test_a_daemon_without_probes(
    switch: Switch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = ovs_daemon.build(tmp_path, probes=False)
    with ovs_daemon.running(path) as daemon:
        assert not switch.probes.attach()
        [record] = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert record.getMessage() == (
            f"process {daemon.pid} ({path}): packets are not followed through it, since its file"
            " has no USDT probe dpif_netlink_operate__:op_flow_execute,"
            " dpif_netlink_operate__:op_flow_put, dpif_recv:recv_upcall: run one that was built"
            " with them (Open vSwitch: configure --enable-usdt-probes)"
        )
        assert not attached(switch)
        assert len(caplog.records) == 1


def test_a_damaged_file(switch: Switch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = ovs_daemon.build(tmp_path, probes=True)
    content = bytearray(path.read_bytes())
    content[0x28:0x30] = struct.pack("=Q", len(content) + 1)  # e_shoff
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o755)
    with ovs_daemon.running(path) as daemon:
        assert not switch.probes.attach()
        assert f"process {daemon.pid}" in caplog.text
        assert "it ends too early" in caplog.text
