"""Maps and programs in this kernel, through libbpf."""

import errno
import os
import struct
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect import loader as loader_module
from retis_py.collect.compiled import Compiled, MapDefinition
from retis_py.collect.decode import Decoder
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.losses import LossCause, read_losses
from retis_py.collect.maps import Map, MapType
from retis_py.collect.plan import Plan
from retis_py.collect.program import PROBE_NUMBER, PROBE_SHAPE
from retis_py.collect.ring import RingBuffer
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.events.event import Event
from retis_py.kernel.btf import Btf
from retis_py.probes.available import Types
from retis_py.probes.probe import ProbeType
from unit.collect.running import Runner, drain

SIZE = 1 << 16


@pytest.fixture(autouse=True)
def _root() -> None:
    require("root")


def code(*instructions: tuple[int, int, int, int]) -> bytes:
    """``struct bpf_insn``: opcode, registers, offset, immediate."""
    return b"".join(struct.pack("=BBhi", *each) for each in instructions)


EXIT = code((0xB7, 0, 0, 0), (0x95, 0, 0, 0))  # r0 = 0; exit


def number(value: int) -> bytes:
    """``r0 = VALUE ll``."""
    low, high = struct.unpack("=ii", struct.pack("=Q", value))
    return code((0x18, 0, 0, low), (0, 0, 0, high))


# Loading


@pytest.mark.usefixtures("open_descriptors")
def test_all_is_given_back(full_program: Compiled) -> None:
    with Loader(full_program, {"events": SIZE}) as loader:
        assert loader.load("forget_traced", ProgramType.RAW_TRACEPOINT) > 0
        assert loader.attached
        loader.detach()
        assert not loader.attached
        assert list(loader.maps["losses"].items()) == []


def test_constants_are_replaced() -> None:
    """A program that returns its constants' sum, looked at by running it."""
    first, second = 0x1111_2222_3333_4444, 0x5555_6666_7777_8888
    mov_r1_r0, add_r0_r1 = code((0xBF, 0x01, 0, 0)), code((0x0F, 0x10, 0, 0))
    text = number(first) + mov_r1_r0 + number(second) + add_r0_r1 + code((0x95, 0, 0, 0))
    with Loader(Compiled({"sum": text}, []), {}) as loader:
        for a, b in ((1, 2), (40, 2), (0xFFFF_FFFF, 0)):
            fd = loader.load("sum", ProgramType.RAW_TRACEPOINT, constants={first: a, second: b})
            assert Runner(fd)() == a + b
        # Others stay as they are, and so does the text.
        fd = loader.load("sum", ProgramType.RAW_TRACEPOINT, constants={first: 1, 7: 8})
        assert Runner(fd)() == (1 + second) & 0xFFFFFFFF


def test_the_programs_constants_are_all_there(full_program: Compiled) -> None:
    text = full_program.functions["raw_tracepoint"]
    for constant in (PROBE_NUMBER, PROBE_SHAPE):
        low, high = struct.unpack("=4s4s", struct.pack("=Q", constant))
        assert text.count(low + bytes(4) + high) == 1


def test_maps_sizes(full_program: Compiled) -> None:
    with Loader(full_program, {"events": SIZE, "losses": 77}) as loader:
        for name, entries in (("events", SIZE), ("losses", 77), ("tracked_packets", 32768)):
            text = Path(f"/proc/self/fdinfo/{loader.maps[name].fd}").read_text()
            assert f"max_entries:\t{entries}\n" in text


# What the kernel refuses


@pytest.mark.usefixtures("open_descriptors")
def test_the_verifiers_reason_is_told(caplog: pytest.LogCaptureFixture) -> None:
    leak = code((0x79, 0x13, 0, 0), (0x95, 0, 0, 0))  # r3 = *(u64 *)(r1 + 0); exit without r0
    with (
        Loader(Compiled({"broken": leak}, []), {}) as loader,
        caplog.at_level("DEBUG", "retis_py"),
        pytest.raises(
            RetisError, match=r"the kernel refuses the program 'broken' \(R0 !read_ok\)"
        ) as caught,
    ):
        loader.load("broken", ProgramType.RAW_TRACEPOINT)
    assert "\n" not in str(caught.value)
    assert "verifier: " in caplog.text


def test_an_instruction_that_does_not_exist() -> None:
    with (
        Loader(Compiled({"broken": code((0xFF, 0, 0, 0)) + EXIT}, []), {}) as loader,
        pytest.raises(RetisError, match="refuses the program 'broken'"),
    ):
        loader.load("broken", ProgramType.RAW_TRACEPOINT)


@pytest.mark.usefixtures("open_descriptors")
def test_a_map_that_cannot_be_made() -> None:
    fine = MapDefinition("fine", MapType.HASH, 4, 4, 1, 0)
    broken = MapDefinition("broken", MapType.HASH, 0, 4, 1, 0)  # a key without bytes
    with pytest.raises((RetisError, OSError), match="broken"):
        Loader(Compiled({}, [fine, broken]), {})


def test_not_permitted(monkeypatch: pytest.MonkeyPatch, full_program: Compiled) -> None:
    """In a child that gives its user away, for the kernel to refuse."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.setgid(65534)
            os.setuid(65534)
            Loader(full_program, {"events": SIZE})
        except MissingPrerequisite as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    assert "run as root" in message
    assert "BPF" in message


@pytest.mark.usefixtures("open_descriptors")
def test_a_tracepoint_that_is_not_there() -> None:
    with Loader(Compiled({"nothing": EXIT}, []), {}) as loader:
        fd = loader.load("nothing", ProgramType.RAW_TRACEPOINT)
        with pytest.raises(OSError, match="no_such") as caught:
            loader.attach_raw_tracepoint("no_such", fd)
        assert caught.value.errno == errno.ENOENT


@pytest.mark.usefixtures("open_descriptors")
def test_attach_and_detach() -> None:
    with Loader(Compiled({"nothing": EXIT}, []), {}) as loader:
        fd = loader.load("nothing", ProgramType.RAW_TRACEPOINT)
        before = links(fd)
        loader.attach_raw_tracepoint("kfree_skb", fd)
        assert links(fd) == before + 1
        loader.detach()


def links(program: int) -> int:
    """How many of our descriptors are links of that program."""
    info = Path(f"/proc/self/fdinfo/{program}").read_text()
    number = next(line for line in info.splitlines() if line.startswith("prog_id"))
    texts = [_read(p) for p in Path("/proc/self/fdinfo").iterdir()]
    return sum("link_type" in text and number in text for text in texts)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_misses_are_read_from_where_the_kernel_has_them(types: Types) -> None:
    """The offsets are the running kernel's own."""
    btf = types.vmlinux

    def offset(struct_name: str, member: str) -> int:
        return (btf.struct(struct_name) or {})[member].bit_offset // 8

    assert offset("bpf_prog_info", "recursion_misses") == loader_module._RECURSION_MISSES
    link = btf.struct("bpf_link_info") or {}
    multi = {m.name: m for m in btf.members(btf.strip(link["kprobe_multi"].type_id))}
    perf = {m.name: m for m in btf.members(btf.strip(link["perf_event"].type_id))}
    kprobe = {m.name: m for m in btf.members(btf.strip(perf["kprobe"].type_id))}
    start = link["kprobe_multi"].bit_offset + multi["missed"].bit_offset
    assert start // 8 == loader_module._MULTI_MISSED
    start = link["perf_event"].bit_offset + perf["kprobe"].bit_offset + kprobe["missed"].bit_offset
    assert start // 8 == loader_module._KPROBE_MISSED
    types_of_links = btf.enum("bpf_link_type") or {}
    assert types_of_links["BPF_LINK_TYPE_PERF_EVENT"] == loader_module._LINK_PERF_EVENT
    assert types_of_links["BPF_LINK_TYPE_KPROBE_MULTI"] == loader_module._LINK_KPROBE_MULTI


def test_numbers_are_the_kernels(types: Types) -> None:
    programs = types.vmlinux.enum("bpf_prog_type") or {}
    attaches = types.vmlinux.enum("bpf_attach_type") or {}
    for program in ProgramType:
        assert programs[f"BPF_PROG_TYPE_{program.name}"] == program
    for attach in loader_module.AttachType:
        assert attach == 0 or attaches[f"BPF_{attach.name}"] == attach


# From a tracepoint's arguments to an event: the program itself, run with arguments of ours. What
# they point to cannot be read, which the kernel answers with zeros.

NOWHERE = 8


@pytest.fixture
def session(full_plan: Plan, full_program: Compiled):  # type: ignore[no-untyped-def]
    with Loader(full_program, {"events": SIZE}) as loader:
        buffer = RingBuffer(loader.maps["events"], SIZE)
        decoder = Decoder(full_plan.program.parts, full_plan.probes, hex)
        runners = {
            probe.symbol: Runner(
                loader.load(
                    "raw_tracepoint",
                    ProgramType.RAW_TRACEPOINT,
                    constants={PROBE_NUMBER: index, PROBE_SHAPE: probe.shape.number},
                )
            )
            for index, probe in enumerate(full_plan.probes)
            if probe.type is ProbeType.RAW_TRACEPOINT
        }
        yield loader, buffer, decoder, runners
        buffer.close()


def kfree_skb(types: Types, skb: int, reason: int) -> list[int]:
    arguments = types.vmlinux.tracepoint("kfree_skb") or []
    values = {"struct sk_buff *": skb, "enum skb_drop_reason": reason}
    return [values.get(a.type, 0) for a in arguments]


def events(buffer: RingBuffer, decoder: Decoder) -> list[Event]:
    return [decoder.decode(record) for record in drain(buffer)]


def test_a_dropped_packet(session, types: Types) -> None:  # type: ignore[no-untyped-def]
    _, buffer, decoder, runners = session
    runners["skb:kfree_skb"](*kfree_skb(types, NOWHERE, 2))
    (event,) = events(buffer, decoder)
    assert event.kernel is not None
    assert (event.kernel.symbol, event.kernel.probe_type) == ("skb:kfree_skb", "raw_tracepoint")
    names = {v: n for n, v in (Btf.enum(types.vmlinux, "skb_drop_reason") or {}).items()}
    assert event.skb_drop is not None
    assert names[2].endswith(event.skb_drop.drop_reason)
    assert event.skb is not None
    assert event.skb.meta is not None
    assert event.skb.meta.len == 0
    assert event.packet is None
    assert event.dev is None
    assert event.common.task is not None
    assert event.common.task.tgid == os.getpid()
    assert event.common.task.comm == Path("/proc/self/comm").read_text().strip()
    assert event.kernel.stack_trace


def test_no_drop(session, types: Types) -> None:  # type: ignore[no-untyped-def]
    """Packets that are freed without being dropped have a reason too."""
    _, buffer, decoder, runners = session
    for reason in (0, 1):
        runners["skb:kfree_skb"](*kfree_skb(types, NOWHERE, reason))
    assert [e.skb_drop for e in events(buffer, decoder)] == [None, None]


def test_nothing_to_say_is_no_event(session, types: Types) -> None:  # type: ignore[no-untyped-def]
    _, buffer, decoder, runners = session
    runners["skb:kfree_skb"](*kfree_skb(types, 0, 0))
    runners["net:netif_receive_skb"](0)
    assert events(buffer, decoder) == []


def test_probes_are_told_apart(session) -> None:  # type: ignore[no-untyped-def]
    _, buffer, decoder, runners = session
    for runner in runners.values():
        runner(NOWHERE, 0, 0, 0)
    found = [e.kernel.symbol for e in events(buffer, decoder) if e.kernel]
    assert found == list(runners)


def test_losses_are_counted(session, full_plan: Plan) -> None:  # type: ignore[no-untyped-def]
    loader, buffer, decoder, runners = session
    run = runners["net:netif_receive_skb"]
    for _ in range(1000):
        run(NOWHERE)
    kept = len(events(buffer, decoder))
    assert 0 < kept < 1000
    known = KnownProbes(full_plan.probes)
    lost = read_losses(loader, (), known)
    probe = "raw_tracepoint:net:netif_receive_skb"
    assert lost == {(probe, LossCause.RING_FULL): 1000 - kept}
    run(NOWHERE)
    assert len(events(buffer, decoder)) == 1
    assert read_losses(loader, (), known) == lost


def test_map_type_of_a_map_is_kept(full_program: Compiled) -> None:
    with Loader(full_program, {"events": SIZE}) as loader:
        assert isinstance(loader.maps["losses"], Map)
        assert loader.maps["events"].definition.type == MapType.RINGBUF
