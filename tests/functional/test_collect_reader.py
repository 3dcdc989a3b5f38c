"""Live events read by the reference reader (package ``retis``) and by us: the same, in every part.

Generated events are compared in tests/interop; here it is what a running kernel makes.
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import capabilities, cli, netns
from lab.collection import Collection, collect, namespace_number, sender, temporary_path
from lab.emulation import EMULATED
from retis_py.events.jsonl import EventFile

retis = pytest.importorskip("retis")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def mixed() -> Iterator[Collection]:
    """ARP, ICMP, ICMPv6, TCP and dropped UDP; all sections, all collectors, stacks."""
    capabilities.require("root")
    capabilities.require("btf")
    probes = ["tp:net:netif_receive_skb", "tp:net:net_dev_start_xmit", "tp:skb:kfree_skb/stack"]
    if capabilities.CAPABILITIES["kprobes"]() is None:
        probes += ["kprobe:ip_rcv/stack", "kretprobe:ip_rcv", "kprobe:tcp_v4_rcv"]
    words = [word for probe in probes for word in ("-p", probe)]
    if not EMULATED:
        words.append("--stack")
    script = str(Path(netns.__file__).with_name("sender.py"))
    with (
        netns.pair(ipv6=True, neighbours=False) as pair,
        pair.right.background("/usr/bin/python3", "-IS", script, "sink", "4001"),
        temporary_path() as path,
    ):
        left, right = pair.left, pair.right
        right.wait_for_port(4001)
        sends = [
            f"{left.prefix} ping -n -q -c1 -W20 {right.ip4} >&2",
            f"{left.prefix} ping -n -q -6 -c1 -W20 {right.ip6} >&2",
            sender(left, "tcp", right.ip4, 4001, 3000),
            sender(left, "udp", right.ip4, 4002, 2000),
            sender(left, "udp", right.ip6, 4002, 10),
        ]
        made = collect(
            *("--skb-sections", "meta,dataref,gso", *words),
            path=path,
            cmd="set -e; " + "; ".join(sends),
        )
        assert "Command ended with exit code 0" in made.result.stderr
        yield made.within(namespace_number(left), namespace_number(right))


def test_it_is_mixed(mixed: Collection) -> None:
    printed = cli.retis("print", mixed.path).stdout
    for part in ("who-has", "ICMP (1) type 8", "ICMPv6", "Flags [S]", "drop (reason NO_SOCKET)"):
        assert part.lower() in printed.lower()
    for section in ("skb", "skb-drop", "skb-tracking", "packet", "dev", "netns"):
        assert any(section in event for event in mixed.events), section


def test_reference_reads_the_same_data(mixed: Collection) -> None:
    theirs = [event.to_dict() for event in retis.EventFile(str(mixed.path)).events()]
    with EventFile(mixed.path) as file:
        ours = [event.to_dict() for event in file.events()]
    ours[0]["startup"].pop("nft_rules", None)  # the reference reads past them
    assert len(ours) == len(theirs) == len(mixed.path.read_bytes().splitlines())
    for one, other in zip(ours, theirs, strict=True):
        assert one == other


def test_reference_shows_the_same_text(mixed: Collection) -> None:
    theirs = [str(event) for event in retis.EventFile(str(mixed.path)).events()]
    with EventFile(mixed.path) as file:
        ours = [str(event) for event in file.events()]
    assert ours == theirs
    assert sum("+0x" in text for text in ours) > 10


def test_reference_text_is_what_print_shows(mixed: Collection) -> None:
    theirs = [str(event) for event in retis.EventFile(str(mixed.path)).events()]
    assert cli.retis("print", mixed.path).stdout == "".join(f"{text}\n\n" for text in theirs)


def test_file_says_who_wrote_it_and_how(mixed: Collection) -> None:
    [startup, *_] = retis.EventFile(str(mixed.path)).events()
    data = startup.to_dict()["startup"]
    assert data["retis_version"].startswith("v1.7.0+retis-py.")
    assert shlex.split(data["cmdline"])[:3] == ["retis", "collect", "--skb-sections"]
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert data["machine"]["kernel_release"] == release


def test_optional_fields_are_left_out(mixed: Collection) -> None:
    """Never null, in no event."""
    for event in mixed.events:
        assert "null" not in json.dumps(event)
