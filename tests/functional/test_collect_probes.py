"""Which probes stand for what was asked for, and that each fires as often as it should."""

import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import capabilities, cli, frames, netns
from lab.collection import (
    TIME_LIMIT,
    Collection,
    Event,
    collect,
    namespace_number,
    packet_bytes,
    read,
    sender,
    temporary_path,
)
from lab.emulation import fast_machine_only
from lab.mounts import retis_after

pytestmark = pytest.mark.timeout(600)

FLOOD = 200  # echo requests


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    capabilities.require("btf")
    with netns.pair(ipv6=False) as made:
        yield made


def flood(link: netns.Pair) -> str:
    return f"{link.left.prefix} ping -n -q -f -c {FLOOD} -W20 {link.right.ip4} >&2"


def here(link: netns.Pair, collection: Collection) -> Collection:
    return collection.within(namespace_number(link.left), namespace_number(link.right))


def echoes(events: list[Event]) -> Counter[int]:
    """How many packets of each ICMP type."""
    return Counter(frames.parse(packet_bytes(e)).payload[0] for e in events)


BOTH = Counter({frames.ECHO_REQUEST: FLOOD, frames.ECHO_REPLY: FLOOD})


# Tracepoints, on every kernel


@pytest.fixture(scope="module")
def tracepoints(link: netns.Pair) -> Iterator[Collection]:
    """One tracepoint named twice, without its type and with it; a stack for another one."""
    probes = ["net:netif_rx", "tp:net:netif_rx", "raw_tracepoint:net:netif_receive_skb/stack"]
    words = [word for probe in probes for word in ("-p", probe)]
    with temporary_path() as path:
        yield collect("-c", "skb,dev,ns", *words, path=path, cmd=flood(link))


@fast_machine_only
def test_tracepoint_is_the_default_with_a_colon(tracepoints: Collection) -> None:
    kinds = {e["kernel"]["probe_type"] for e in tracepoints.at("net:netif_rx")}
    assert kinds == {"raw_tracepoint"}


@fast_machine_only
def test_tracepoint_named_twice_is_attached_once(tracepoints: Collection, link: netns.Pair) -> None:
    assert "2 probe(s) loaded" in tracepoints.result.stderr
    assert echoes(here(link, tracepoints).at("net:netif_rx")) == BOTH


@fast_machine_only
def test_stack_for_one_tracepoint(tracepoints: Collection) -> None:
    assert all("stack_trace" not in e["kernel"] for e in tracepoints.at("net:netif_rx"))
    with_stack = tracepoints.at("net:netif_receive_skb")
    assert with_stack
    assert all(e["kernel"]["stack_trace"] for e in with_stack)


@fast_machine_only
def test_stack_for_all(link: netns.Pair, tmp_path: Path) -> None:
    made = collect(
        *("-c", "skb", "--stack", "-p", "tp:net:netif_rx", "-p", "tp:net:netif_receive_skb"),
        path=tmp_path / "events",
        cmd=sender(link.left, "udp", link.right.ip4, 4001, 10),
    )
    assert {e["kernel"]["symbol"] for e in made.events} == {
        "net:netif_rx",
        "net:netif_receive_skb",
    }
    assert all(e["kernel"]["stack_trace"] for e in made.events)


@fast_machine_only
def test_probes_of_a_collector_are_not_doubled(link: netns.Pair, tmp_path: Path) -> None:
    """skb-drop brings its tracepoint: naming it, even with a stack, makes no second one."""
    made = collect(
        *("-c", "skb-drop,skb,dev,ns", "-p", "skb:kfree_skb/stack"),
        path=tmp_path / "events",
        cmd=sender(link.left, "udp", link.right.ip4, 4001, 10),
    )
    assert "1 probe(s) loaded" in made.result.stderr
    [event] = made.within(namespace_number(link.right)).events
    assert event["skb-drop"] == {"drop_reason": "NO_SOCKET"}
    assert event["kernel"]["stack_trace"]


@fast_machine_only
def test_nothing_named(link: netns.Pair, tmp_path: Path) -> None:
    """The two tracepoints of devices, every collector that can run, and what these bring."""
    made = collect(path=tmp_path / "events", cmd=sender(link.left, "udp", link.right.ip4, 4001, 10))
    said = made.result.stderr
    assert "Collector(s) started: skb-tracking, skb-drop, skb, dev, ns" in said
    assert "using tp:net:netif_receive_skb, tp:net:net_dev_start_xmit" in said
    symbols = {e["kernel"]["symbol"] for e in here(link, made).events}
    assert symbols == {"net:netif_receive_skb", "net:net_dev_start_xmit", "skb:kfree_skb"}


@fast_machine_only
def test_tracepoint_wildcard_mounts_tracefs(link: netns.Pair, tmp_path: Path) -> None:
    """Where nobody has mounted it, and only when allowed; it is gone afterwards."""
    path = tmp_path / "events"
    tracing = "/sys/kernel/tracing"
    unmounted = f"while mountpoint -q {tracing}; do umount {tracing} || exit 1; done"
    command = sender(link.left, "udp", link.right.ip4, 4001, 10)
    result = retis_after(
        unmounted,
        *("collect", "--allow-system-changes", "-c", "skb,dev,ns"),
        *("-p", "tp:skb:*", "-o", path, "--cmd", command),
        then=f"! mountpoint -q {tracing}",
    )
    assert result.exit_code == 0, result.stderr
    symbols = {e["kernel"]["symbol"] for e in read(path, result).events}
    assert "skb:kfree_skb" in symbols
    assert "skb:consume_skb" in symbols
    assert all(symbol.startswith("skb:") for symbol in symbols)


# Functions


@pytest.fixture(scope="module")
def functions(link: netns.Pair) -> Iterator[Collection]:
    """Few functions, tracepoints by wildcard, under many packets."""
    capabilities.require("kprobes")
    capabilities.require("tracefs")
    probes = [
        *("ip_rcv", "ip_rcv", "k:ip_rcv", "kprobe:ip_local_deliver/stack", "kr:ip_rcv"),
        *("kprobe:veth_xmit", "kretprobe:veth_xmit", "tp:skb:*"),
    ]
    words = [word for probe in probes for word in ("-p", probe)]
    with temporary_path() as path:
        yield collect(*("-c", "skb,dev,ns", "--snaplen", "64", *words), path=path, cmd=flood(link))


def test_function_is_the_default(functions: Collection) -> None:
    assert {e["kernel"]["probe_type"] for e in functions.at("ip_rcv")} == {"kprobe", "kretprobe"}


def test_function_named_thrice_is_attached_once(functions: Collection, link: netns.Pair) -> None:
    assert echoes(here(link, functions).at("ip_rcv", "kprobe")) == BOTH


def test_stack_for_one_function(functions: Collection) -> None:
    for event in functions.events:
        with_stack = event["kernel"]["symbol"] == "ip_local_deliver"
        assert ("stack_trace" in event["kernel"]) == with_stack
    frame = functions.at("ip_local_deliver")[0]["kernel"]["stack_trace"][0]
    assert frame.startswith("ip_local_deliver+0x")


def test_wildcard_of_tracepoints(functions: Collection) -> None:
    symbols = {e["kernel"]["symbol"] for e in functions.events if ":" in e["kernel"]["symbol"]}
    assert "skb:consume_skb" in symbols
    assert all(symbol.startswith("skb:") for symbol in symbols)


def test_function_of_a_module(functions: Collection, link: netns.Pair) -> None:
    """veth_xmit sees each packet at its sender's device."""
    events = here(link, functions).at("veth_xmit", "kprobe")
    assert echoes(events) == BOTH
    for event in events:
        request = frames.parse(packet_bytes(event)).payload[0] == frames.ECHO_REQUEST
        assert event["dev"]["name"] == (link.left if request else link.right).dev


@pytest.mark.parametrize("function", ["ip_rcv", "veth_xmit"])
def test_each_return_follows_its_entry(
    functions: Collection, link: netns.Pair, function: str
) -> None:
    """Per CPU an entry opens and a return closes.

    What the return says of the packet is what it is by then: veth_xmit has given it to the other
    device, ip_rcv leaves it where it was.
    """
    open_calls: dict[int, list[Event]] = {}
    returns = 0
    for event in sorted(here(link, functions).at(function), key=lambda e: e["common"]["timestamp"]):
        calls = open_calls.setdefault(event["common"]["smp_id"], [])
        if event["kernel"]["probe_type"] == "kprobe":
            calls.append(event)
        else:
            entry = calls.pop()
            assert event["common"]["task"] == entry["common"]["task"]
            if function == "ip_rcv":
                assert event["dev"] == entry["dev"]
                assert event["netns"] == entry["netns"]
            returns += 1
    assert returns == 2 * FLOOD
    assert not any(open_calls.values())


def test_nothing_is_lost_under_load(functions: Collection) -> None:
    assert ", none lost" in functions.result.stderr


# Many functions


def has_fprobe() -> bool:
    """Whether the kernel can attach one program to many functions (kprobe.multi)."""
    configuration = Path(f"/boot/config-{Path('/proc/sys/kernel/osrelease').read_text().strip()}")
    return "CONFIG_FPROBE=y\n" in configuration.read_text()


def link_types(pid: int) -> Counter[str]:
    """The BPF links that a process holds, by their types."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return Counter(t for text in texts for t in re.findall(r"^link_type:\s+(\w+)$", text, re.M))


@pytest.fixture(scope="module")
def wildcards(link: netns.Pair) -> Iterator[tuple[Collection, Counter[str]]]:
    """All functions of IPv4 and TCP that have a packet or a device."""
    capabilities.require("kprobes")
    command = sender(link.left, "tcp", link.right.ip4, 4001, 100)
    with (
        temporary_path() as path,
        link.right.background("/usr/bin/python3", "-IS", sink_script(), "sink", "4001"),
    ):
        link.right.wait_for_port(4001)
        with cli.background(
            *("--log-level", "debug", "collect", "-c", "skb,dev,ns"),
            *("-p", "kprobe:ip_*", "-p", "kprobe:tcp_*", "-o", path),
            timeout=TIME_LIMIT,
        ) as running:
            links = link_types(running.process.pid)
            subprocess.run(shlex.split(command), check=True)
            result = running.stop(timeout=TIME_LIMIT)
        assert result.exit_code == 0, result.stderr
        yield read(path, result), links


def sink_script() -> str:
    return str(Path(netns.__file__).with_name("sender.py"))


def test_wildcard_of_functions(wildcards: tuple[Collection, Counter[str]]) -> None:
    made, _ = wildcards
    [loaded] = re.findall(r"(\d+) probe\(s\) loaded", made.result.stderr)
    assert 100 <= int(loaded) <= 1024
    symbols = {e["kernel"]["symbol"] for e in made.events}
    assert {"ip_rcv", "ip_local_deliver", "ip_output", "tcp_v4_rcv"} <= symbols
    assert all(re.match("ip_|tcp_", symbol) for symbol in symbols)
    assert {e["kernel"]["probe_type"] for e in made.events} == {"kprobe"}


def test_many_functions_are_attached_at_once_where_possible(
    wildcards: tuple[Collection, Counter[str]],
) -> None:
    made, links = wildcards
    one_by_one = "attaching them one by one" in made.result.stderr
    if has_fprobe():
        assert links["kprobe_multi"] >= 1
        assert not one_by_one
        # Functions that few share their arguments' places with are still attached singly.
        [loaded] = re.findall(r"(\d+) probe\(s\) loaded", made.result.stderr)
        assert int(loaded) - links["perf"] >= 50
    else:
        assert "kprobe_multi" not in links
        assert one_by_one


def test_functions_of_one_packet_in_order(
    wildcards: tuple[Collection, Counter[str]], link: netns.Pair
) -> None:
    """The connection's first segment passes IP before TCP."""
    made, _ = wildcards
    arrived = made.within(namespace_number(link.right)).events
    order = [e["kernel"]["symbol"] for e in arrived]
    assert order.index("ip_rcv") < order.index("ip_local_deliver") < order.index("tcp_v4_rcv")


# Functions without a packet


@pytest.fixture(scope="module")
def devices(link: netns.Pair) -> Iterator[Collection]:
    capabilities.require("kprobes")
    left = ["ip", "-n", link.left.ns, "link", "set", "lo"]
    command = f"{shlex.join([*left, 'down'])} && {shlex.join([*left, 'up'])}"
    with temporary_path() as path:
        yield collect(
            *("-c", "dev,ns", "-p", "kprobe:dev_activate", "-p", "kretprobe:dev_activate"),
            path=path,
            cmd=command,
        )


def test_function_with_a_device_only(devices: Collection, link: netns.Pair) -> None:
    made = devices.within(namespace_number(link.left))
    for kind in ("kprobe", "kretprobe"):
        [event] = made.at("dev_activate", kind)
        assert event["dev"] == {"name": "lo", "ifindex": 1}
        assert set(event) == {"common", "kernel", "dev", "netns"}
