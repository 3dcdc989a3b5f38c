"""From requests to probes, over this kernel's types."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from retis_py.errors import MissingPrerequisite, RetisError, UsageError
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes.available import Types
from retis_py.probes.probe import FED_FIELDS, Probe, ProbeRequest, ProbeType, parse_probe
from retis_py.probes.resolve import MAX_PROBES, Resolver

K, KR, TP = ProbeType.KPROBE, ProbeType.KRETPROBE, ProbeType.RAW_TRACEPOINT
ALL = frozenset(FED_FIELDS)
SKB = frozenset({"struct sk_buff *"})
START = 0xFFFFFFFF81000000
TRACEPOINTS = [
    "net:net_dev_start_xmit",
    "net:net_dev_xmit",
    "net:netif_receive_skb",
    "sched:sched_switch",
    "sched:sched_wakeup",
    "skb:kfree_skb",
    "skb:consume_skb",
]
FUNCTIONS = ["ip_rcv", "ip_rcv_finish_core", "tcp_v4_rcv", "eth_type_trans", "schedule", "strlen"]

MakeHost = Callable[..., Host]
MakeTracefs = Callable[..., Tracefs]


def resolve(
    texts: Sequence[str],
    host: Host,
    types: Types,
    tracefs: Tracefs | None = None,
    feeds: frozenset[str] = ALL,
) -> list[Probe]:
    return Resolver(host, types, feeds, tracefs).resolve(map(parse_probe, texts))


# Tracepoints


def test_tracepoint(types: Types) -> None:
    (probe,) = resolve(["tp:net:netif_receive_skb"], Host(), types)
    assert probe == Probe(TP, "net:netif_receive_skb", (("skb", 0),))


def test_tracepoint_arguments_are_found_by_type(types: Types) -> None:
    (probe,) = resolve(["skb:kfree_skb"], Host(), types)
    raw = types.vmlinux.tracepoint("kfree_skb")
    assert raw is not None
    for field, position in probe.arguments:
        assert FED_FIELDS[raw[position].type] == field
    assert {"skb", "drop_reason"} <= {field for field, _ in probe.arguments}
    # The kernel's location argument is no use to anyone.
    assert 1 not in {position for _, position in probe.arguments}


def test_order_and_de_duplication(types: Types) -> None:
    probes = resolve(
        ["skb:kfree_skb", "net:netif_receive_skb", "tp:skb:kfree_skb", "net:net_dev_xmit"],
        Host(),
        types,
    )
    assert [p.symbol for p in probes] == [
        "skb:kfree_skb", "net:netif_receive_skb", "net:net_dev_xmit",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "texts",
    [
        ["skb:kfree_skb/stack", "skb:kfree_skb"],
        ["skb:kfree_skb", "skb:kfree_skb/stack"],
        ["skb:*", "skb:kfree_skb/stack"],
        ["skb:kfree_skb/stack", "skb:*"],
    ],
)
def test_a_stack_asked_for_once_is_given(
    types: Types, make_tracefs: MakeTracefs, texts: list[str]
) -> None:
    probes = resolve(texts, Host(), types, make_tracefs(TRACEPOINTS))
    assert {p.symbol: p.stack for p in probes}["skb:kfree_skb"] is True
    assert all(not p.stack for p in probes if p.symbol != "skb:kfree_skb")


def test_one_tracepoint_under_two_groups_is_one_probe(types: Types) -> None:
    """Raw tracepoints have unique names; without tracefs the group cannot be checked."""
    assert len(resolve(["skb:kfree_skb", "made_up:kfree_skb"], Host(), types)) == 1


def test_tracepoint_wildcard(types: Types, make_tracefs: MakeTracefs) -> None:
    tracefs = make_tracefs(TRACEPOINTS)
    probes = resolve(["net:*", "skb:kfree_?kb"], Host(), types, tracefs)
    assert [p.symbol for p in probes] == [
        "net:net_dev_start_xmit", "net:net_dev_xmit", "net:netif_receive_skb", "skb:kfree_skb",
    ]  # fmt: skip
    assert all(p.optional for p in probes)


def test_what_was_named_too_is_not_optional(types: Types, make_tracefs: MakeTracefs) -> None:
    tracefs = make_tracefs(TRACEPOINTS)
    probes = resolve(["net:net*", "net:net_dev_xmit"], Host(), types, tracefs)
    assert [p.symbol for p in probes if not p.optional] == ["net:net_dev_xmit"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skb:kfree_skbb", "no such tracepoint: 'raw_tracepoint:skb:kfree_skbb', did you mean"),
        ("net:kfree_skb", "did you mean 'skb:kfree_skb'?"),
        ("tp:*:no_such", "no tracepoint matches 'raw_tracepoint:*:no_such'"),
        ("sched:*", "none of the 2 tracepoints that match 'raw_tracepoint:sched:*' has an arg"),
        ("sched:sched_switch", "cannot use 'raw_tracepoint:sched:sched_switch': no argument that"),
    ],
)
def test_tracepoint_errors(
    types: Types, make_tracefs: MakeTracefs, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        resolve([text], Host(), types, make_tracefs(TRACEPOINTS))


def test_tracepoints_without_tracefs(types: Types) -> None:
    with pytest.raises(UsageError, match=r"no such tracepoint: .*or its module is not loaded"):
        resolve(["skb:no_such"], Host(), types)
    with pytest.raises(UsageError, match="tracefs, which lists them, cannot be read"):
        resolve(["skb:*"], Host(), types)


def test_a_message_says_what_there_is(types: Types) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(["sched:sched_switch"], Host(), types, feeds=SKB)
    assert "(struct sk_buff *); it has: " in str(caught.value)
    assert "struct task_struct *" in str(caught.value)


# Functions


def test_no_kprobes(types: Types, make_host: MakeHost) -> None:
    with pytest.raises(
        MissingPrerequisite, match=r"'kprobe:ip_rcv'.*CONFIG_KPROBES.*tp:GROUP:NAME"
    ):
        resolve(["ip_rcv"], make_host(FUNCTIONS, kprobes=False), types)
    assert resolve(["skb:kfree_skb"], make_host(FUNCTIONS, kprobes=False), types)


def test_functions(types: Types, make_host: MakeHost) -> None:
    assert resolve(["ip_rcv", "kr:ip_rcv", "eth_type_trans"], make_host(FUNCTIONS), types) == [
        Probe(K, "ip_rcv", (("dev", 1), ("skb", 0)), address=START + 16),
        Probe(KR, "ip_rcv", (("dev", 1), ("skb", 0)), address=START + 16),
        Probe(K, "eth_type_trans", (("dev", 1), ("skb", 0)), address=START + 64),
    ]


def test_function_wildcard(types: Types, make_host: MakeHost) -> None:
    probes = resolve(["k:*"], make_host(FUNCTIONS), types)
    known = [
        n
        for n in sorted(FUNCTIONS)
        if types.vmlinux.function(n) and n not in ("schedule", "strlen")
    ]
    assert [p.symbol for p in probes] == known
    assert all(p.optional and p.address > START for p in probes)


def test_functions_of_one_name_are_left_out_of_wildcards(types: Types, make_host: MakeHost) -> None:
    probes = resolve(
        ["ip_rcv*", "tcp_*"], make_host([*FUNCTIONS, "tcp_v4_rcv", "tcp_v4_do_rcv"]), types
    )
    assert "tcp_v4_rcv" not in {p.symbol for p in probes}
    assert "tcp_v4_do_rcv" in {p.symbol for p in probes}


def test_only_traceable_functions(
    types: Types, make_host: MakeHost, make_tracefs: MakeTracefs
) -> None:
    host = make_host(FUNCTIONS)
    tracefs = make_tracefs(
        TRACEPOINTS,
        ["ip_rcv", "tcp_v4_rcv"],
        f"0x{START + 16:x}-0x{START + 32:x}\tip_rcv\n",
    )
    assert [p.symbol for p in resolve(["*"], host, types, tracefs)] == ["tcp_v4_rcv"]
    for name in ("eth_type_trans", "ip_rcv"):
        with pytest.raises(UsageError, match=f"does not let '{name}' be traced"):
            resolve([name], host, types, tracefs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_function", "no such function in this kernel: 'kprobe:no_such_function'"),
        ("kr:no_such", "no such function in this kernel: 'kretprobe:no_such'"),
        ("ip_local_deliver", "(the compiler made ip_local_deliver.isra.0 of it"),
        ("schedule", "cannot use 'kprobe:schedule': no argument"),
        ("strlen", "it has: char *"),
        ("unknown_to_btf", "(BTF) does not know its arguments"),
        ("nothing_*", "no function that can be probed matches 'kprobe:nothing_*'"),
        ("s*", "none of the 2 functions that match 'kprobe:s*' has an argument"),
    ],
)
def test_function_errors(types: Types, make_host: MakeHost, text: str, message: str) -> None:
    host = make_host([*FUNCTIONS, "ip_local_deliver.isra.0", "unknown_to_btf"])
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        resolve([text], host, types)
    assert "\n" not in str(caught.value)


def test_arguments_beyond_the_registers_are_out_of_reach(types: Types, make_host: MakeHost) -> None:
    vmlinux = types.vmlinux
    name = next(
        name
        for name, type_id in vmlinux.functions.items()
        if len(types_ := [a.type for a in vmlinux.arguments_of(type_id)]) > 6
        and not ALL & {*types_[:6]}
        and ALL & {*types_[6:]}
    )
    with pytest.raises(UsageError, match="no argument that an enabled collector feeds on"):
        resolve([name], make_host([name]), types)


def test_hidden_addresses(types: Types, make_host: MakeHost, tmp_path: Path) -> None:
    host = make_host()
    (tmp_path / "proc/kallsyms").write_text("0000000000000000 T ip_rcv\n")
    with pytest.raises(MissingPrerequisite, match="hides the addresses"):
        resolve(["ip_rcv"], host, types)


# All of them


def fed_functions(types: Types, count: int) -> list[str]:
    names = []
    for name, type_id in types.vmlinux.functions.items():
        if any(a.type == "struct sk_buff *" for a in types.vmlinux.arguments_of(type_id)[:6]):
            names.append(name)
            if len(names) == count:
                return names
    pytest.skip(f"this kernel has but {len(names)} functions with an skb")


def test_the_limit(types: Types, make_host: MakeHost) -> None:
    *names, one_more = fed_functions(types, MAX_PROBES + 1)
    host = make_host([*names, one_more])
    within = f"[!{one_more[0]}]*", *(n for n in names if n[0] == one_more[0])
    # Asked for again they are no more.
    assert len(resolve([*within, names[0]], host, types)) == MAX_PROBES
    with pytest.raises(
        UsageError, match=f"more than 1,024 probes asked for .at 'kretprobe:{one_more}'"
    ):
        resolve([*within, f"kr:{one_more}"], host, types)
    with pytest.raises(UsageError, match=r"at 'kprobe:\*'.*narrow the wildcard"):
        resolve(["*"], host, types)


def test_a_wildcard_is_resolved_fast(types: Types, make_host: MakeHost, tmp_path: Path) -> None:
    """With all symbols of a kernel: the time to start is what users complain about."""
    host = make_host()
    (tmp_path / "proc/kallsyms").unlink()
    (tmp_path / "proc/kallsyms").symlink_to("/proc/kallsyms")
    host.kallsyms.count("")  # reading it is another matter
    _ = types.vmlinux.functions
    start = time.process_time()
    probes = resolve(["tcp_*"], host, types)
    assert len(probes) > 100
    assert time.process_time() - start < 1.0


def test_usable_ones_are_counted_in_the_log(
    types: Types, make_host: MakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "retis_py"):
        resolve(["*"], make_host(["ip_rcv", "strlen"]), types)
    assert "'kprobe:*': 1 of 3 functions usable" in caplog.text


TARGETS = st.one_of(
    st.sampled_from(
        ["ip_rcv", "skb:kfree_skb", "net:*", "*", "tcp_v4_rcv", "tcp_[v]*", "skb:\udc80"]
    ),
    st.text(st.characters(exclude_characters="/"), min_size=1, max_size=12),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.builds(ProbeRequest, st.sampled_from(ProbeType), TARGETS, st.booleans()), max_size=4
    )
)
def test_any_requests(types: Types, make_host: MakeHost, requests: list[ProbeRequest]) -> None:
    """Whatever is asked for: probes, each once, or an error worded for people."""
    host = make_host(FUNCTIONS)
    try:
        requests = [parse_probe(f"{r}{'/stack' if r.stack else ''}") for r in requests]
        probes = Resolver(host, types, ALL, None).resolve(requests)
    except RetisError as error:
        assert "\n" not in str(error).replace(repr(error), "") or any(
            "\n" in r.target for r in requests
        )
        return
    assert len({str(p) for p in probes}) == len(probes)
    assert all(p.arguments for p in probes)


# Collectors' own probes


def requested(text: str, **more: object) -> ProbeRequest:
    return replace(parse_probe(text), **more)  # type: ignore[arg-type]


def test_own_probe_needs_no_argument_that_is_fed_on(types: Types, make_host: MakeHost) -> None:
    host = make_host(["schedule", "ip_rcv"])
    own = requested("kretprobe:schedule", role=3, silent=True)
    (probe,) = Resolver(host, types, SKB, None).resolve([own])
    assert (probe.arguments, probe.role, probe.silent) == ((), 3, True)
    assert probe.shape.number != replace(probe, role=4).shape.number
    assert probe.shape.number != replace(probe, silent=False).shape.number


@pytest.mark.parametrize("asked_first", [True, False])
def test_own_probe_that_was_asked_for_too(
    types: Types, make_host: MakeHost, asked_first: bool
) -> None:
    """It keeps its role, and makes events; the kernel's refusal is the user's to know."""
    own = requested("ip_rcv", role=5, silent=True, optional=True)
    requests = [own, parse_probe("ip_rcv/stack")]
    (probe,) = Resolver(make_host(["ip_rcv"]), types, SKB, None).resolve(
        reversed(requests) if asked_first else requests
    )
    assert (probe.role, probe.silent, probe.stack, probe.optional) == (5, False, True, False)


@pytest.mark.parametrize("text", ["kretprobe:gone", "tp:openvswitch:gone"])
def test_optional_probe_that_the_kernel_lacks(
    types: Types, make_host: MakeHost, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = Resolver(make_host(["ip_rcv"]), types, SKB, None)
    with pytest.raises(UsageError):
        resolver.resolve([requested(text, role=1)])
    with caplog.at_level(logging.DEBUG, "retis_py"):
        probes = resolver.resolve([requested(text, role=1, optional=True), parse_probe("ip_rcv")])
    assert [probe.symbol for probe in probes] == ["ip_rcv"]
    (record,) = [r for r in caplog.records if "going on without a probe" in r.message]
    assert record.levelno == logging.DEBUG


def test_optional_probe_without_kprobes(types: Types, make_host: MakeHost) -> None:
    resolver = Resolver(make_host(["ip_rcv"], kprobes=False), types, SKB, None)
    own = requested("ip_rcv", role=1, optional=True)
    assert not resolver.resolve([own])
