"""What expressions select, one rule of the language at a time."""

import json
import pickle
from typing import Any

import msgspec
import pytest

from interop.event_strategies import FULL, OVS_KINDS
from retis_py.events.event import Event, decode, encode
from retis_py.process.where import Where, compile_where


def event(**sections: Any) -> Event:
    return decode(json.dumps({"common": {"timestamp": 5}, **sections}))


DEV = event(dev={"name": "eth0", "ifindex": 3})
EMPTY = event()
EVERYTHING = decode(json.dumps(FULL))
OVS = [event(ovs=kind) for kind in OVS_KINDS]


def both_ways(expression: str, of: Event) -> bool:
    """What is said of an event and of its line must be the same."""
    where = compile_where(expression)
    matches = where.matches(of)
    assert isinstance(matches, bool)
    assert where.matches_line(encode(of)) is matches
    return matches


@pytest.mark.parametrize(
    "expression",
    [
        'dev.name == "eth0"',
        "dev.name == 'eth0'",
        'dev.name=="eth0"',
        ' dev . name\n==\t"eth0" ',
        'dev.name != "eth1"',
        'dev.name in ("lo", "eth0")',
        'dev.name in("eth0")',
        'dev.name not in ("lo", "eth1")',
        'dev.name ~ "eth*"',
        'dev.name ~ "et[g-i]?"',
        'dev.name ~ "eth0"',
        'dev.name !~ "th"',
        'dev.name !~ "ETH*"',
        "dev.ifindex == 3",
        "dev.ifindex == 0x3",
        "dev.ifindex == 0b11",
        "dev.ifindex < 4 and dev.ifindex <= 3 and dev.ifindex > 2 and dev.ifindex >= 3",
        "dev.ifindex != 4",
        "dev.ifindex in (1, 2, 3)",
        "dev",
        "dev.name",
        "common",
        "not skb",
        "!skb",
        "not not dev",
        "! ! dev",
        "!(skb or ct)",
        'not dev.name == "lo"',
    ],
)
def test_true_of_a_device(expression: str) -> None:
    assert both_ways(expression, DEV)
    assert not both_ways(f"not ({expression})", DEV)


@pytest.mark.parametrize(
    "comparison",
    [
        'dev.name == "eth0"',
        'dev.name != "eth0"',
        'dev.name ~ "*"',
        'dev.name !~ "x"',
        'dev.name in ("eth0")',
        'dev.name not in ("eth0")',
        "dev.ifindex < 10",
        "dev.ifindex >= 0",
        "dev",
        "dev.name",
        "common.task.pid != 5",
        "common.smp_id != 5",
        "common.smp_id",
        "skb-drop.subsys != 'x'",
        "skb.data_ref.cloned",
        "skb.data_ref.cloned == false",
        "skb.data_ref.cloned != true",
        "kernel.stack_trace ~ '*'",
        "ct.parent.orig.proto.tcp.dport != 1",
        "ovs.event_type != 'upcall'",
        "ovs.queue_id != 7",
        "ovs.ufid != '00000000-0000-0000-0000-000000000000'",
        "skb-tracking.tracking_id != 0",
    ],
)
def test_what_is_not_there_is_in_no_comparison(comparison: str) -> None:
    assert not both_ways(comparison, EMPTY)
    assert both_ways(f"not {comparison}", EMPTY)


def test_precedence() -> None:
    """``not`` before ``and`` before ``or``."""
    assert both_ways("dev or dev and skb", DEV)
    assert both_ways("dev || dev && skb", DEV)
    assert not both_ways("(dev or dev) and skb", DEV)
    assert both_ways("not skb and dev", DEV)
    assert not both_ways("not dev or skb", DEV)
    assert both_ways("not dev and skb or dev", DEV)
    assert both_ways("skb and dev or dev", DEV)
    assert not both_ways("skb and (dev or dev)", DEV)


def test_sections_and_fields_are_spelt_with_hyphens_or_underscores() -> None:
    for spelling in ("skb-drop", "skb_drop"):
        assert both_ways(f'{spelling}.drop_reason == "LAST_ACTION"', EVERYTHING)
    for spelling in ("ovs-detrace.dpflow", "ovs_detrace.dpflow"):
        assert both_ways(f'{spelling} ~ "in_port*"', EVERYTHING)
    assert both_ways("skb-tracking.orig-head == 1", EVERYTHING)


@pytest.mark.parametrize(
    "expression",
    [
        "ct.parent",
        'ct.orig.ip.src == "10.0.0.1"',
        "ct.orig.proto.tcp.dport == 2",
        "not ct.orig.proto.udp",
        'ct.state == "established"',
        'ct.state ~ "est*"',
        'ct.zone_dir in ("Default", "None")',
        "skb.meta.len == 1",
        "skb.vlan_accel.dei",
        "skb.vlan_accel.dei == true",
        "not nft.policy",
        "nft.policy == false",
        "nft.policy != true",
        "packet.data",
        "packet.len > 59",
        "common.task.comm == 'ping'",
        "startup.machine.hardware_name ~ 'x86*'",
        "startup.split_file.policy.kind == 'size'",
        "netns.inum == 2",
        "tracking.skb.tracking_id == '20000000000000001'",
    ],
)
def test_nested_fields(expression: str) -> None:
    assert both_ways(expression, EVERYTHING)


def test_a_list_matches_if_an_element_does() -> None:
    assert both_ways('kernel.stack_trace == "b+0x2"', EVERYTHING)
    assert both_ways('kernel.stack_trace ~ "ip_rcv+*"', EVERYTHING)
    assert both_ways('kernel.stack_trace in ("x", "b+0x2")', EVERYTHING)
    assert not both_ways('kernel.stack_trace == "b"', EVERYTHING)
    assert not both_ways('kernel.stack_trace ~ "ip_rcv"', EVERYTHING)
    assert not both_ways('kernel.stack_trace in ("ip_rcv", "b")', EVERYTHING)


@pytest.mark.parametrize(
    "written", ['"#20000000000000001"', '"20000000000000001"', "36893488147419103233"]
)
def test_tracking_ids(written: str) -> None:
    assert both_ways(f"skb-tracking.tracking_id == {written}", EVERYTHING)
    assert both_ways(f"skb-tracking.tracking_id in (1, {written})", EVERYTHING)
    assert not both_ways(f"skb-tracking.tracking_id < {written}", EVERYTHING)


def test_a_tracking_id_is_written_as_it_is_printed() -> None:
    tracked = event(**{"skb-tracking": {"orig_head": 2**64 - 2, "timestamp": 1234567, "skb": 1}})
    printed = next(word for word in str(tracked).split() if word.startswith("#"))
    assert both_ways(f'skb-tracking.tracking_id == "{printed}"', tracked)
    assert both_ways(f'skb-tracking.tracking_id == "{printed.upper()}"', tracked)


def test_fields_of_a_union_belong_to_those_that_have_them() -> None:
    def which(expression: str) -> list[int]:
        return [i for i, each in enumerate(OVS) if both_ways(expression, each)]

    assert which("ovs") == [0, 1, 2, 3, 4, 5]
    assert which("ovs.queue_id") == [0, 2, 3, 4]
    assert which("ovs.queue_id == 5") == [0]
    assert which("ovs.queue_id != 5") == [2, 3, 4]
    assert which('ovs.event_type == "flow_lookup"') == [5]
    assert which('ovs.event_type in ("upcall_return", "flow_lookup")') == [1, 5]
    assert which('ovs.event_type ~ "upcall_*"') == [0, 1]
    assert which("ovs.type") == [2]
    assert which('ovs.op_type == "put"') == [3]
    assert which('ovs.ufid == "00000001-0000-0002-0000-000300000004"') == [5]
    assert which('ovs.ufid ~ "00000001-*"') == [5]
    assert which('ovs.ofpflows == "table=0"') == [5]
    assert which("ovs.nat.min_port != 1") == []


def test_ends_of_ranges() -> None:
    most = 2**64 - 1
    assert both_ways(f"common.timestamp < {most} and common.timestamp >= 0", EMPTY)
    nft = FULL["nft"] | {"table_handle": -(2**63)}
    assert both_ways("nft.table_handle == -9223372036854775808", event(nft=nft))
    assert both_ways("nft.table_handle < -1", event(nft=nft))


def test_sections_that_are_read() -> None:
    where = compile_where('dev.name == "eth0" and not skb-drop.subsys or ct.parent or dev')
    assert where.sections == {"dev", "skb_drop", "ct"}
    assert compile_where("common").sections == {"common"}


def test_what_is_not_named_is_not_decoded() -> None:
    line = b'{"common":{"timestamp":1,"smp_id":"?"},"ct":{"x":1},"dev":{"name":"a","ifindex":1}}'
    assert compile_where("dev").matches_line(line)
    assert not hasattr(compile_where("dev").partial_decoder()(line), "ct")
    with pytest.raises(msgspec.ValidationError, match="missing required field"):
        compile_where("ct").matches_line(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b'{"common":{"timestamp":1}',
        b"[]",
        b"{}",
        b"null",
        b"x",
        b'{"dev":{"name":"a","ifindex":1}}',
        b'{"common":{"timestamp":-1}}',
        b'{"common":{"timestamp":1},"dev":{"name":"a"}}',
    ],
)
def test_damaged_lines(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        compile_where("dev").matches_line(line)


def test_bytes_that_are_no_text() -> None:
    line = b'{"common":{"timestamp":1},"dev":{"name":"\xff","ifindex":1}}'
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        compile_where("dev").matches_line(line)


def test_to_another_process() -> None:
    where = pickle.loads(pickle.dumps(compile_where('dev.name == "eth0"')))  # noqa: S301 (ours)
    assert isinstance(where, Where)
    assert where.matches(DEV)
    assert not where.matches(EMPTY)
    assert repr(where) == "Where('dev.name == \"eth0\"')"


@pytest.mark.parametrize(
    "text",
    [
        '"',
        "a\\",
        "a\nb",
        "{}",
        "__import__('os')",
        "c1",
        "ünï 网卡",
        "\x1b[31m",
        "%s",
        "]",
        "[",
        "[!",
    ],
)
def test_odd_strings_are_just_strings(text: str) -> None:
    quote = "'" if '"' in text else '"'
    named = event(dev={"name": text, "ifindex": 1})
    if "'" not in text or quote == '"':
        assert both_ways(f"dev.name == {quote}{text}{quote}", named)
        assert not both_ways(f"dev.name == {quote}{text}{quote}", DEV)
    assert both_ways("dev.name ~ '*'", named)


def test_a_pattern_takes_no_time_that_grows() -> None:
    named = event(dev={"name": "a" * 5000, "ifindex": 1})
    assert not both_ways(f'dev.name ~ "{"*a" * 50}*b"', named)
