"""Functions that have no packet: reported for the packet that is handled, found in its stacks.

A host is pinged through a router; a second ping that the filter does not match makes the same
functions run for packets that nobody asked for.
"""

import re
from collections.abc import Iterator

import pytest

from lab import capabilities, frames
from lab.collection import (
    Collection,
    Event,
    collect,
    kernel_symbols,
    packet_bytes,
    temporary_path,
)
from lab.ids import Id, by_id, tracking_id
from lab.topology import Routed, translating_router

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("root", "btf", "kprobes")]

COUNT = 3
# Probing what is found takes seconds where CPUs are emulated; so many are sent meanwhile.
COUNT_FOR_STACKS = 15
OUTER, INNER = "ip_route_input_noref", "fib_table_lookup"


@pytest.fixture(scope="module")
def network() -> Iterator[Routed]:
    for name in ("root", "btf", "kprobes"):
        capabilities.require(name)
    with translating_router() as made:
        yield made


def pings(network: Routed, count: int, *arguments: str) -> Iterator[Collection]:
    """One ping that the filter matches, one that goes the same way and is not matched."""
    ping = f"{network.client.prefix} ping -n -q -i 0.8 -W20 -c{count}"
    command = f"{ping} {network.server.ip4} & {ping} {network.service} && wait $!"
    with temporary_path() as path:
        made = collect(
            *("-c", "skb-tracking,skb,dev", "-f", f"icmp and host {network.service}", *arguments),
            path=path,
            cmd=command,
        )
        assert "Command ended with exit code 0" in made.result.stderr
        yield made


@pytest.fixture(scope="module")
def in_context(network: Routed) -> Iterator[Collection]:
    probes = (f"kprobe:{OUTER}", f"kretprobe:{OUTER}", f"kprobe:{INNER}/stack-context")
    yield from pings(network, COUNT, *(word for probe in probes for word in ("-p", probe)))


@pytest.fixture(scope="module")
def by_stack(network: Routed) -> Iterator[Collection]:
    yield from pings(network, COUNT_FOR_STACKS, "-p", "tp:net:net_dev_start_xmit", "--probe-stack")


def test_function_without_a_packet_is_reported(in_context: Collection) -> None:
    assert kernel_symbols([OUTER, INNER]) == {OUTER, INNER}
    found = in_context.at(INNER, "kprobe")
    # The router looks a route up for each echo, before and after it is given the new address.
    assert len({tracking_id(event) for event in found}) >= COUNT


def test_it_is_reported_with_the_packet_handled(in_context: Collection) -> None:
    """Its id and its address are those of the function around it."""
    handled = {(tracking_id(e), e["skb-tracking"]["skb"]) for e in in_context.at(OUTER, "kprobe")}
    assert {
        (tracking_id(e), e["skb-tracking"]["skb"]) for e in in_context.at(INNER, "kprobe")
    } <= handled


def test_it_is_reported_between_entry_and_return_only(in_context: Collection) -> None:
    """All other calls of the function, for other packets and for senders, are left out."""
    calls = intervals(in_context)
    assert calls
    for event in in_context.at(INNER, "kprobe"):
        time = event["common"]["timestamp"]
        around = [packet for packet, begin, end in calls if begin < time < end]
        assert tracking_id(event) in around, f"{time} in none of {calls}"


def intervals(made: Collection) -> list[tuple[Id, int, int]]:
    """The calls of the outer function: packet, entry, return (ns)."""
    found, open_calls = [], {}
    for event in made.events:
        if event["kernel"]["symbol"] != OUTER:
            continue
        thread = event["common"]["task"]["pid"], event["common"]["smp_id"]
        if event["kernel"]["probe_type"] == "kprobe":
            open_calls[thread] = event
        elif (entry := open_calls.pop(thread, None)) is not None:
            times = (entry["common"]["timestamp"], event["common"]["timestamp"])
            found.append((tracking_id(entry), *times))
    return found


def test_no_other_packet_is_reported(in_context: Collection, by_stack: Collection) -> None:
    for made in (in_context, by_stack):
        identifiers = {
            frames.parse(packet_bytes(event)).payload[4:6]
            for event in made.events
            if is_icmp(event)
        }
        assert len(identifiers) == 1


def is_icmp(event: Event) -> bool:
    data = packet_bytes(event)
    return len(data) >= 42 and data[12:14] == b"\x08\x00" and data[23] == frames.ICMP


def test_functions_in_stacks_are_probed(by_stack: Collection) -> None:
    """Those between the entry into the stack and the device, from the first packet's events on."""
    found = {
        e["kernel"]["symbol"] for e in by_stack.events if e["kernel"]["probe_type"] == "kprobe"
    }
    assert len(found) >= 3
    assert found & {"__dev_queue_xmit", "dev_hard_start_xmit", "ip_output"}
    assert kernel_symbols(found) == found


def test_what_is_found_follows_the_packet(by_stack: Collection) -> None:
    """A function found belongs to packets that matched, and shows no stack nobody asked for."""
    traced = set(by_id(by_stack.at("net:net_dev_start_xmit", "raw_tracepoint")))
    found = [e for e in by_stack.events if e["kernel"]["probe_type"] == "kprobe"]
    assert {tracking_id(event) for event in found} <= traced
    assert all("stack_trace" not in event["kernel"] for event in by_stack.events)


def test_none_is_lost(in_context: Collection, by_stack: Collection) -> None:
    for made in (in_context, by_stack):
        assert not re.search(r"event\(s\) lost", made.result.stderr)
