"""Lines of records are those that their events give, however often and in whatever order."""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retis_py.collect import decode, json_decode, json_decode_memo
from retis_py.collect.decode import Decoder
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collectors.collector import Part
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.collectors.skb import SkbPart
from retis_py.errors import RetisError
from retis_py.events.event import encode
from retis_py.events.wire import HEADER
from retis_py.kernel.btf import Btf
from retis_py.probes.available import Types
from retis_py.probes.probe import Probe, ProbeType, UserProbe
from unit.collectors.openvswitch import OvsTypes, openvswitch

K, TP, USDT = (t.number for t in (ProbeType.KPROBE, ProbeType.RAW_TRACEPOINT, ProbeType.USDT))
IP_RCV = 0xFFFFFFFF81234560
PROBES = [
    Probe(ProbeType.RAW_TRACEPOINT, "skb:kfree_skb", (("skb", 0),)),
    Probe(ProbeType.KPROBE, "ip_rcv", (("skb", 0),), address=IP_RCV),
]
USER_PROBE = UserProbe("dpif_recv:recv_upcall", "/usr/sbin/ovs-vswitchd")
KNOWN = [(TP, 0), (K, IP_RCV), (K, IP_RCV + 4), (USDT, 0)]
DAEMON = 77  # its process id
NAMES = [
    b"",
    b"eth0",
    b'a"b\\c',
    b"\0junk",
    b"\xff\xfe",
    "ä€\U0001f600".encode(),
    b"\n\x01\x7f\x1b",
]

# Numbers that mean something to some part: protocols, ethertypes, relations, verdicts.
NUMBERS = [0, 1, 2, 3, 4, 6, 10, 17, 58, 132, 0x86DD]


@pytest.fixture(scope="session")
def ovs_types(types: Types) -> Types:
    return OvsTypes(types.vmlinux, openvswitch(Btf.vmlinux()))


@pytest.fixture(scope="session")
def parts(ovs_types: Types) -> tuple[Part, ...]:
    """All that there are."""
    options = CollectorOptions(frozenset(SkbPart), 255, ovs_track=True)
    return tuple(part for c in all_collectors(options) for part in c.parts(ovs_types))


def resolve(address: int) -> str:
    return f"{address:#x}" if address % 2 else f'at"{address:x}+0x0'


_Kind = TypeVar("_Kind", bound=Decoder)


def made(kind: type[_Kind], parts: Sequence[Part]) -> _Kind:
    decoder = kind(parts, PROBES, resolve)
    decoder.add_user_probe(0, USER_PROBE)
    decoder.programs[DAEMON] = "/proc/77/root/ovs"
    return decoder


def outcome(line: Callable[[], bytes]) -> bytes | str:
    """The line, or what is wrong."""
    try:
        return line()
    except RetisError as error:
        return str(error)


def check(parts: Sequence[Part], records: Iterable[bytes]) -> list[bytes | str]:
    """Compare with events, one decoder for all; return what both say."""
    event, lines = made(Decoder, parts).decode, made(JsonDecoder, parts).lines
    found = []
    for record in records:
        found.append(outcome(lambda: next(lines([record]))))  # noqa: B023
        assert found[-1] == outcome(lambda: encode(event(record)) + b"\n")  # noqa: B023
    return found


def header(
    bitmap: int,
    probe: tuple[int, int] = (TP, 0),
    *,
    time: int = 1,
    comm: bytes = b"task",
    pid: int = 5,
    frames: int = 0,
    captured: int = 0,
) -> bytes:
    kind, key = probe
    values = (time, key, bitmap, 3, pid + 1, pid, frames, captured, kind, comm)
    return struct.pack("=" + HEADER.format, *values)


def bitmap_of(parts: Sequence[Part], *names: str) -> int:
    assert set(names) <= {part.wire.name for part in parts}
    return sum(1 << n for n, part in enumerate(parts) if part.wire.name in names)


@st.composite
def record(draw: st.DrawFn, parts: Sequence[Part], bitmap: int) -> bytes:
    """One with these parts, whatever is in them."""
    body = b""
    for number, part in enumerate(parts):
        if bitmap >> number & 1:
            body += draw(raw_part(part))
    stack = draw(st.lists(st.sampled_from([IP_RCV, IP_RCV + 2, IP_RCV + 5]), max_size=3))
    packet = draw(st.binary(max_size=9))
    head = header(
        bitmap,
        draw(st.sampled_from(KNOWN)),
        time=draw(st.integers(0, 2**64 - 1)),
        comm=draw(st.sampled_from(NAMES)),
        pid=draw(st.sampled_from([0, DAEMON, 2**31 - 2])),
        frames=len(stack),
        captured=len(packet),
    )
    return (
        head + body + struct.pack(f"={len(stack)}Q", *stack) + packet + draw(st.binary(max_size=2))
    )


def raw_part(part: Part) -> st.SearchStrategy[bytes]:
    """Bytes of a part: any, or such as may mean something."""
    layout = struct.Struct("=" + part.wire.format)
    blank: Sequence[Any] = layout.unpack(bytes(layout.size))
    members = [_name(len(v)) if isinstance(v, bytes) else st.sampled_from(NUMBERS) for v in blank]

    def pack(values: tuple[Any, ...]) -> bytes:
        numbers = zip(values, part.wire.members.split(";"), strict=False)
        return layout.pack(*(v & 0xFF if "u8 " in member else v for v, member in numbers))

    return st.tuples(*members).map(pack) | st.binary(min_size=layout.size, max_size=layout.size)


def _name(size: int) -> st.SearchStrategy[bytes]:
    return st.sampled_from(NAMES).map(lambda name: name.ljust(size, b"\0")[:size])


def bitmaps(parts: Sequence[Part]) -> st.SearchStrategy[int]:
    numbers = st.sampled_from(range(len(parts)))
    few = st.sets(numbers, max_size=7).map(lambda found: sum(1 << n for n in found))
    return few | st.integers(0, (1 << len(parts)) - 1)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_parts(parts: tuple[Part, ...], data: st.DataObject) -> None:
    """Of any collectors, whether or not they go together; each record twice, in any order."""
    records = [
        data.draw(record(parts, bitmap))
        for bitmap in data.draw(st.lists(bitmaps(parts), min_size=1, max_size=4))
    ]
    check(parts, [*records, *data.draw(st.permutations(records))])


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_parts_in_any_order(parts: tuple[Part, ...], data: st.DataObject) -> None:
    """Those of a section need not stand together."""
    shuffled = data.draw(st.permutations(parts))
    raw = data.draw(record(shuffled, data.draw(bitmaps(shuffled))))
    check(shuffled, [raw, raw])


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_one_collectors_parts(ovs_types: Types, data: st.DataObject) -> None:
    """Often enough such as go together."""
    options = CollectorOptions(frozenset(SkbPart), 255, ovs_track=True)
    collector = data.draw(st.sampled_from(all_collectors(options)))
    parts = collector.parts(ovs_types)
    bitmap = data.draw(st.integers(0, (1 << len(parts)) - 1))
    records = data.draw(st.lists(record(parts, bitmap), min_size=2, max_size=4))
    check(parts, [*records, *records])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage(parts: tuple[Part, ...], data: st.DataObject) -> None:
    """Of a kind that is known already."""
    raw = data.draw(record(parts, data.draw(bitmaps(parts))))
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(raw)))])
    check(parts, [raw, cut, raw, bytes(damaged), raw])


TRACKING = struct.pack("=3Q", 2**64 - 1, 2**63, 7)
VLAN = struct.pack("=HH4x", 0x8100, 0xB00A)
META = struct.pack("=IIIB3xIB3xI4x", 1500, 40, 0xDEADBEEF, 3, 0x100022, 1, 6)
PACKET = struct.pack("=I4x", 1514)
DEV = struct.pack("=16sII", b"veth0", 3, 4)
NETNS = struct.pack("=QII", 9, 4026531833, 1)
USUAL = ("skb_tracking", "skb_drop", "skb_vlan_accel", "skb_meta", "packet", "dev", "netns")
CAPTURED = bytes(range(60))


def usual(
    parts: Sequence[Part], *, time: int = 1, stack: tuple[int, ...] = (), dev: bytes = DEV
) -> bytes:
    """A record of a packet that is dropped."""
    bitmap = bitmap_of(parts, *USUAL)
    drop = struct.pack("=I4x", 2)
    return (
        header(bitmap, time=time, frames=len(stack), captured=len(CAPTURED))
        + b"".join((TRACKING, drop, VLAN, META, PACKET, dev, NETNS))
        + struct.pack(f"={len(stack)}Q", *stack)
        + CAPTURED
    )


@pytest.mark.parametrize("with_packet", [True, False])
def test_cut_anywhere(parts: tuple[Part, ...], with_packet: bool) -> None:
    stack = (2, 4, 6)
    if with_packet:
        whole = usual(parts, stack=stack)
    else:
        whole = header(bitmap_of(parts, "dev"), frames=3) + DEV + struct.pack("=3Q", *stack)
    found = check(parts, [whole, *(whole[:length] for length in range(len(whole))), whole])
    assert found[0] == found[-1]
    assert isinstance(found[0], bytes)
    assert all(isinstance(error, str) for error in found[1:-1])


def test_what_is_known_needs_no_event(
    parts: tuple[Part, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = made(JsonDecoder, parts)
    stack = (2, 4)
    records = [usual(parts, time=time, stack=stack) for time in (1, 2, 3)]
    records += [header(bitmap_of(parts, "nft")) + bytes(544)] * 2
    before = list(decoder.lines(records))
    monkeypatch.setattr(JsonDecoder, "decode", None)
    assert list(decoder.lines(records)) == before
    assert list(decoder.lines([usual(parts, time=77, stack=stack)])) == [
        before[0].replace(b'{"timestamp":1,', b'{"timestamp":77,', 1)
    ]


def test_a_part_that_its_section_cannot_have(parts: tuple[Part, ...]) -> None:
    raw = header(bitmap_of(parts, "ovs_upcall", "ovs_action_queue")) + bytes(16 + 8)
    found = check(parts, [raw, raw])
    assert found == ["an event with a part that its section cannot have (ovs, queue_id)"] * 2


def test_lines_before_the_damage(parts: tuple[Part, ...]) -> None:
    good, decoder = usual(parts), made(JsonDecoder, parts)
    for _ in range(2):
        lines = decoder.lines([good, good, good[:-1], good])
        assert next(lines) == next(lines)
        with pytest.raises(RetisError, match="cut short"):
            next(lines)


@pytest.mark.parametrize("limit", [0, 300, 2000])
def test_memory_is_bounded(
    parts: tuple[Part, ...], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """What is forgotten is made again."""
    monkeypatch.setattr(json_decode_memo, "LIMIT", limit)
    records = [
        usual(parts, time=n, stack=(n % 7 * 2,), dev=struct.pack("=16sII", b"%d" % n, n, n % 3))
        for n in range(40)
    ]
    check(parts, [*records, *records])
    decoder = made(JsonDecoder, parts)
    assert len(list(decoder.lines(records * 2))) == 2 * len(records)
    memos = [decoder._heads, decoder._stacks, *decoder._sections.values()]
    assert len(memos) > 4
    for memo in memos:
        assert len(memo) <= 1 + limit // 128
        assert sum(map(len, memo)) + sum(map(len, memo.values())) <= max(limit, 1000)


def test_what_does_not_repeat_is_not_remembered(parts: tuple[Part, ...]) -> None:
    """An upcall's time is its own: its texts would only fill the memory that there is for all."""
    once = [part for part in parts if any("_ts" in name for name in part.wire.fields)]
    assert len(once) == 4
    decoder = made(JsonDecoder, parts)
    remembered = []
    for time in range(1, 30):
        word = time.to_bytes(8, "little")
        records = [
            header(bitmap_of(parts, part.wire.name)) + word * (part.wire.size // 8) for part in once
        ]
        assert [*decoder.lines(records)] == check(parts, records)
        remembered.append(sum(map(len, decoder._sections.values())))
    assert len(decoder._functions) == len(once)
    assert remembered[-1] == remembered[0]


def test_many_kinds_of_records(parts: tuple[Part, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_decode, "_FUNCTIONS", 2)
    monkeypatch.setattr(decode, "_LAYOUTS", 2)
    kinds = {"dev": DEV, "netns": NETNS, "skb_tracking": TRACKING, "skb_vlan_accel": VLAN}
    records = [header(bitmap_of(parts, name)) + raw for name, raw in kinds.items()]
    found = check(parts, records * 3)
    assert len(set(found)) == len(kinds)
    decoder = made(JsonDecoder, parts)
    assert list(decoder.lines(records * 3)) == found
    assert max(map(len, (decoder._functions, decoder._layouts, decoder._sections))) <= 2


def test_what_is_forgotten_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_decode_memo, "LIMIT", 2000)
    made = []

    def make(raw: bytes) -> bytes:
        made.append(raw)
        return raw[::-1]

    memo = json_decode_memo.Memo(make)
    sizes = []
    for n in range(1000, 1100):
        assert memo[b"%d" % n] == memo[b"%d" % n] == (b"%d" % n)[::-1]
        sizes.append(len(memo))
    assert len(made) == 100
    assert max(sizes) == max(sizes[50:]) == 2000 // (4 + 4 + 128)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["task", "device"])
def test_names_are_not_trusted(parts: tuple[Part, ...], name: bytes, place: str) -> None:
    comm, dev = (name, b"x") if place == "task" else (b"x", name)
    raw = header(bitmap_of(parts, "dev"), comm=comm) + struct.pack("=16sII", dev, 1, 0)
    line, again = check(parts, [raw, raw])
    assert line == again
    assert isinstance(line, bytes)
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")


# What becomes known later


def test_a_function_attached_later(parts: tuple[Part, ...]) -> None:
    """Where it lies, a neighbour's return address was before."""
    decoder = made(JsonDecoder, parts)
    raw, unknown = (
        header(bitmap_of(parts, "dev"), (K, address)) + DEV for address in (IP_RCV + 4, 0x1000)
    )
    assert b'"symbol":"ip_rcv"' in list(decoder.lines([raw, raw, raw]))[-1]
    with pytest.raises(RetisError, match="not attached"):
        next(decoder.lines([unknown]))
    decoder.add_function(Probe(ProbeType.KPROBE, "a_neighbour", (), address=IP_RCV + 4))
    decoder.add_function(Probe(ProbeType.KPROBE, "a_stranger", (), address=0x1000))
    for _ in range(2):
        found = list(decoder.lines([raw, unknown]))
        assert [line.count(b'"symbol":"a_') for line in found] == [1, 1]
        assert found == [encode(decoder.decode(record)) + b"\n" for record in (raw, unknown)]


def test_a_program_known_later(parts: tuple[Part, ...]) -> None:
    decoder = JsonDecoder(parts, PROBES, resolve)
    raw = header(bitmap_of(parts, "dev"), (USDT, 0), pid=DAEMON) + DEV
    with pytest.raises(RetisError, match="not attached"):
        next(decoder.lines([raw]))
    decoder.add_user_probe(0, USER_PROBE)
    assert b'"path":"/usr/sbin/ovs-vswitchd"' in list(decoder.lines([raw, raw]))[1]
    decoder.programs[DAEMON] = "/other"
    assert b'"path":"/other"' in next(decoder.lines([raw]))


def test_a_symbol_known_later(parts: tuple[Part, ...]) -> None:
    known: dict[int, str] = {}
    decoder = JsonDecoder(parts, PROBES, lambda address: known.get(address, f"{address:#x}"))
    raw = usual(parts, stack=(16, 32))
    found = []
    for address in (0, 16, 32):
        known[address] = f"f{address}+0x1"
        found += [line.partition(b'"stack_trace":')[2][:20] for line in decoder.lines([raw, raw])]
    before, between, after = b'["0x10","0x20"]', b'["f16+0x1","0x20"]', b'["f16+0x1","f32+0x1"]'
    expected = [text for text in (before, between, after) for _ in range(2)]
    assert [text[: len(e)] for text, e in zip(found, expected, strict=True)] == [
        e[:20] for e in expected
    ]
