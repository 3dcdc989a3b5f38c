"""Tracking ids on live packets: one id, one packet."""

import base64
import json
import shlex
import sys
from collections import defaultdict
from pathlib import Path

from lab.capabilities import require
from lab.cli import retis
from lab.netns import pair

MESSAGES = 60

# Small messages that wait for nobody, over one connection.
CLIENT = f"""
import socket, threading, time
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
def serve():
    connection, _ = listener.accept()
    while connection.recv(65536):
        pass
threading.Thread(target=serve, daemon=True).start()
client = socket.create_connection(listener.getsockname())
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for number in range({MESSAGES}):
    client.send(b"%04d" % number * 20)
    time.sleep(0.001)
client.close(); time.sleep(0.05)
"""


def test_packets_of_a_connection_are_told_apart(tmp_path: Path) -> None:
    """TCP frees most packets without any tracepoint, and their memory becomes the next ones'."""
    require("root")
    require("btf")
    script, out = tmp_path / "client.py", tmp_path / "events"
    script.write_text(CLIENT)
    with pair(ipv6=False) as ends:
        command = f"{ends.left.prefix} {shlex.join([sys.executable, str(script)])}"
        probes = ["-p", "tp:net:netif_receive_skb", "-p", "tp:net:net_dev_start_xmit"]
        collectors = ["-c", "skb,skb-tracking,dev"]
        run = retis("collect", *collectors, *probes, "-o", out, "--cmd", command)
    assert run.exit_code == 0, run.stderr
    packets: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    for event in map(json.loads, out.read_text().splitlines()):
        tracking = event.get("skb-tracking")
        if tracking and "packet" in event and event.get("dev", {}).get("name") == "lo":
            ip = base64.b64decode(event["packet"]["data"])[14:]
            packets[tracking["timestamp"], tracking["orig_head"]].add(ip)
    distinct = set().union(*packets.values())
    assert len(distinct) >= MESSAGES
    shared = {f"{head:x}": len(ips) for (_, head), ips in packets.items() if len(ips) > 1}
    assert not shared, f"packets by shared id: {shared}"
