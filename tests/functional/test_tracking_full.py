"""A full map of tracked packets is counted, and nothing else suffers."""

import re
from pathlib import Path

import pytest

from lab import netns
from lab.collection import collect, sender
from lab.emulation import fast_machine_only

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("root", "btf")]

PORT = 4002
ENTRIES = 4
DATAGRAMS = 20


@fast_machine_only
def test_packets_that_do_not_fit_are_counted(pair: netns.Pair, tmp_path: Path) -> None:
    """In a socket that nobody reads packets live on, so that none makes room for another."""
    script = (
        "import socket, signal; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f" s.bind(('', {PORT})); signal.pause()"
    )
    with pair.right.background("/usr/bin/python3", "-IS", "-c", script):
        pair.right.wait_for_port(PORT, udp=True)
        made = collect(
            *("-c", "skb,skb-tracking", "-p", "tp:net:netif_receive_skb"),
            *("-f", f"udp dst port {PORT} and host {pair.right.ip4}"),
            *("--tracking-entries", str(ENTRIES)),
            path=tmp_path / "events",
            cmd=sender(pair.left, "udp-many", pair.right.ip4, PORT, 100, DATAGRAMS),
        )
    assert len(made.events) == DATAGRAMS
    ids = {(e["skb-tracking"]["timestamp"], e["skb-tracking"]["orig_head"]) for e in made.events}
    assert len(ids) == DATAGRAMS
    [lost] = re.findall(r"([\d,]+) event\(s\) lost at (.*): tracking map full", made.result.stderr)
    assert lost == (str(DATAGRAMS - ENTRIES), "raw_tracepoint:net:netif_receive_skb")
