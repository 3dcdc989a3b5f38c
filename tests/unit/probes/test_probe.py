"""Probes as users write them, and the shapes that programs are loaded for."""

import platform
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retis_py.errors import UsageError
from retis_py.kernel.btf import Argument
from retis_py.probes.probe import (
    FED_FIELDS,
    Probe,
    ProbeRequest,
    ProbeType,
    Shape,
    fed_arguments,
    parse_probe,
)
from retis_py.resources import bpf_dir

K, KR, TP = ProbeType.KPROBE, ProbeType.KRETPROBE, ProbeType.RAW_TRACEPOINT


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("ip_rcv", ProbeRequest(K, "ip_rcv")),
        ("kprobe:ip_rcv", ProbeRequest(K, "ip_rcv")),
        ("k:ip_rcv", ProbeRequest(K, "ip_rcv")),
        ("kretprobe:ip_rcv", ProbeRequest(KR, "ip_rcv")),
        ("kr:ip_rcv", ProbeRequest(KR, "ip_rcv")),
        ("raw_tracepoint:skb:kfree_skb", ProbeRequest(TP, "skb:kfree_skb")),
        ("tp:skb:kfree_skb", ProbeRequest(TP, "skb:kfree_skb")),
        ("skb:kfree_skb", ProbeRequest(TP, "skb:kfree_skb")),
        ("net:*", ProbeRequest(TP, "net:*")),
        ("tcp_*", ProbeRequest(K, "tcp_*")),
        ("kprobe:tcp_v[46]_rcv", ProbeRequest(K, "tcp_v[46]_rcv")),
        ("ip_rcv/stack", ProbeRequest(K, "ip_rcv", stack=True)),
        ("skb:kfree_skb/stack", ProbeRequest(TP, "skb:kfree_skb", stack=True)),
        ("kr:tcp_*/stack/stack", ProbeRequest(KR, "tcp_*", stack=True)),
        ("ip_rcv.isra.0", ProbeRequest(K, "ip_rcv.isra.0")),
    ],
)
def test_parse(text: str, request_: ProbeRequest) -> None:
    assert parse_probe(text) == request_


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a function's name is expected"),
        ("kprobe:", "a function's name is expected"),
        ("kprobe:skb:kfree_skb", "a function's name is expected"),
        ("tp:kfree_skb", "named GROUP:NAME"),
        ("tp:", "named GROUP:NAME"),
        ("tp::x", "named GROUP:NAME"),
        ("tp:x:", "named GROUP:NAME"),
        ("tp:a:b:c", "named GROUP:NAME"),
        (":x", "named GROUP:NAME"),
        ("skb:", "unknown type 'skb'"),
        ("usdt:a:b", "unknown type 'usdt'"),
        ("KPROBE:a:b", "unknown type 'KPROBE'"),
        ("ip_rcv/stac", "unknown option 'stac'"),
        ("ip_rcv/", "unknown option ''"),
        ("ip_rcv/stack/deep", "unknown option 'deep'"),
        ("/stack", "a function's name is expected"),
    ],
)
def test_parse_errors(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        parse_probe(text)
    assert f"probe '{text}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["skb:\udcff", "skb:ü", "skb:a b", "skb:x\0", "ip_rcv\n", "a b"])
def test_what_no_symbol_can_be_called_is_refused(target: str) -> None:
    with pytest.raises(UsageError):
        parse_probe(target)


WORDS = st.sampled_from(
    [
        "k",
        "kr",
        "tp",
        "kprobe",
        "kretprobe",
        "raw_tracepoint",
        ":",
        "/",
        "stack",
        "ip_rcv",
        "*",
        "[",
    ]
)


@given(st.one_of(st.text(max_size=20), st.lists(WORDS, max_size=7).map("".join)))
def test_any_text_is_a_request_or_a_usage_error(text: str) -> None:
    try:
        request = parse_probe(text)
    except UsageError:
        return
    assert request.target in text
    # What a request is shown as is what a user may write.
    again = parse_probe(f"{request}/stack" if request.stack else str(request))
    assert again == request


@pytest.mark.parametrize(
    ("target", "is_pattern"),
    [("ip_rcv", False), ("ip_*", True), ("ip_rc?", True), ("ip_[r]cv", True), ("*", True)],
)
def test_is_pattern(target: str, is_pattern: bool) -> None:
    assert ProbeRequest(K, target).is_pattern is is_pattern


def test_types_are_numbered_as_in_the_program() -> None:
    text = (bpf_dir() / "core/context.h").read_text()
    names = re.findall(r"PROBE_(\w+),", text[text.index("enum probe_type") :].split("}")[0])
    assert names == [t.name for t in ProbeType]
    assert [t.number for t in ProbeType] == list(range(len(ProbeType)))


def test_fields_are_numbered_as_in_the_program() -> None:
    text = (bpf_dir() / "core/shape.h").read_text()
    names = re.findall(r"SHAPE_(\w+),", text[text.index("enum shape_field") :].split("}")[0])
    expected = [{"sk": "SOCK"}.get(field, field.upper()) for field in FED_FIELDS.values()]
    assert names == [*expected, "STACK", "CONTEXT", "ROLE", "SILENT"]


def places(number: int) -> list[int]:
    """A shape's fields of five bits in their order (bpf/core/shape.h)."""
    return [number >> 5 * field & 31 for field in range(len(FED_FIELDS) + 4)]


def test_tracepoint_shape() -> None:
    shape = Shape(TP, (("drop_reason", 2), ("skb", 0), ("sk", 3)), stack=True)
    none = [31] * len(FED_FIELDS)
    assert places(shape.number) == [0, 31, 31, 3, 2, *none[5:], 1, 0, 0, 0]
    assert places(Shape(TP, (), stack=False).number) == [*none, 0, 0, 0, 0]
    assert places(Shape(TP, (), stack=False, context=True).number) == [*none, 0, 1, 0, 0]
    own = Shape(TP, (), stack=False, role=31, silent=True)
    assert places(own.number) == [*none, 0, 0, 31, 1]
    assert own.number < 1 << 64


@pytest.mark.parametrize(
    ("machine", "registers"),
    [
        # Words of struct pt_regs: di, si, dx, cx, r8, r9; x0 to x5.
        ("x86_64", [112, 104, 96, 88, 72, 64]),
        ("aarch64", [0, 8, 16, 24, 32, 40]),
    ],
)
@pytest.mark.parametrize("kind", [K, KR])
def test_function_shape(
    monkeypatch: pytest.MonkeyPatch, machine: str, registers: list[int], kind: ProbeType
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for position, offset in enumerate(registers):
        shape = Shape(kind, (("skb", position),), stack=False)
        assert places(shape.number)[0] * 8 == offset


PLACES = st.tuples(st.sampled_from([*FED_FIELDS.values()]), st.integers(0, 5))
ARGUMENTS = st.lists(PLACES, unique_by=lambda pair: pair[0]).map(lambda pairs: tuple(sorted(pairs)))


@given(st.lists(st.tuples(ARGUMENTS, st.booleans()), unique=True, max_size=6))
def test_different_shapes_have_different_numbers(shapes: list[tuple[object, bool]]) -> None:
    numbers = {Shape(TP, arguments, stack).number for arguments, stack in shapes}  # type: ignore[arg-type]
    assert len(numbers) == len(shapes)
    assert all(number < 1 << 64 for number in numbers)


def test_probe() -> None:
    probe = Probe(TP, "skb:kfree_skb", (("skb", 0),), stack=True)
    assert probe.name == "kfree_skb"
    assert str(probe) == "raw_tracepoint:skb:kfree_skb"
    assert probe.shape == Shape(TP, (("skb", 0),), stack=True)
    assert probe.shape == Probe(TP, "net:netif_rx", (("skb", 0),), stack=True).shape


SKB, DEV, NET = (
    Argument(member, ctype)
    for member, ctype in (
        ("skb", "struct sk_buff *"),
        ("dev", "struct net_device *"),
        ("net", "struct net *"),
    )
)
OTHER = Argument("x", "int")
PKTINFO = Argument("pkt", "struct nft_pktinfo *")
ALL = frozenset(FED_FIELDS)


@pytest.mark.parametrize(
    ("arguments", "feeds", "fed"),
    [
        ([], ALL, ()),
        ([OTHER], ALL, ()),
        ([OTHER, SKB], ALL, (("skb", 1),)),
        ([SKB, OTHER, SKB], ALL, (("skb", 0),)),
        ([NET, OTHER, SKB, DEV], ALL, (("dev", 3), ("net", 0), ("skb", 2))),
        # Nobody feeds on a device alone, but with a packet it comes along.
        ([DEV], frozenset({"struct sk_buff *"}), ()),
        ([DEV, SKB], frozenset({"struct sk_buff *"}), (("dev", 0), ("skb", 1))),
        ([SKB], frozenset(), ()),
        ([Argument("skb", "struct sk_buff **")], ALL, ()),
        # It leads to a packet, and so to all that feed on one.
        ([OTHER, PKTINFO], frozenset({"struct sk_buff *"}), (("nft_pktinfo", 1),)),
        ([PKTINFO], frozenset({"struct net *"}), ()),
    ],
)
def test_fed_arguments(
    arguments: list[Argument], feeds: frozenset[str], fed: tuple[tuple[str, int], ...]
) -> None:
    assert fed_arguments(arguments, feeds) == fed
