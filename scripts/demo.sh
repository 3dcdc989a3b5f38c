#!/bin/bash
# The main job on live packets: two namespaces of its own joined by a veth pair, some traffic in
# them, every packet that comes in, goes out or is dropped traced, and the events printed.
# All of it is removed at the end, after Ctrl-C too.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "demo: must run as root" >&2; exit 1; }
    exec sudo "$0" "$@"
fi

retis=.venv/bin/retis
left=retis-demo-$$-a
right=retis-demo-$$-b
folder=$(mktemp -d)

main() {
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    make_network
    write_traffic

    # Tracepoints only: they work on every kernel. The profile brings skb:kfree_skb, the drops.
    command=("$retis" -p dropmon,ifdump collect -o "$folder/events" --cmd "bash $folder/traffic")
    echo "+ ${command[*]}"
    "${command[@]}"
    echo
    echo "+ $retis print $folder/events"
    "$retis" print "$folder/events"
}

clean_up() {
    ip netns del "$left" 2>/dev/null || true
    ip netns del "$right" 2>/dev/null || true
    rm -rf "$folder"
}

make_network() {
    ip netns add "$left"
    ip netns add "$right"
    for ns in "$left" "$right"; do
        # Without IPv6 nothing is on the link but what is sent below.
        ip netns exec "$ns" sh -c '
            for conf in all default; do
                path=/proc/sys/net/ipv6/conf/$conf/disable_ipv6
                [ ! -e $path ] || echo 1 >$path
            done'
        ip -n "$ns" link set lo up
    done
    ip link add name veth-a netns "$left" type veth peer name veth-b netns "$right"
    ip -n "$left" addr add 10.98.0.1/24 dev veth-a
    ip -n "$right" addr add 10.98.0.2/24 dev veth-b
    ip -n "$left" link set veth-a up
    ip -n "$right" link set veth-b up
}

write_traffic() {
    cat >"$folder/traffic" <<EOF
ip netns exec $left ping -q -c 1 10.98.0.2 >/dev/null
ip netns exec $right /usr/bin/python3 $folder/server.py $folder/ready &
until [ -e $folder/ready ]; do sleep 0.02; done
ip netns exec $left /usr/bin/python3 $folder/client.py
wait
EOF
    cat >"$folder/server.py" <<'EOF'
import pathlib
import socket
import sys

with socket.create_server(("10.98.0.2", 8080)) as server:
    pathlib.Path(sys.argv[1]).touch()
    connection, _ = server.accept()
    with connection:
        connection.sendall(connection.recv(100))
EOF
    cat >"$folder/client.py" <<'EOF'
import socket
import time

# A TCP connection: some bytes there and back.
with socket.create_connection(("10.98.0.2", 8080), timeout=5) as connection:
    connection.sendall(b"hello")
    connection.recv(100)

# A datagram to a port where nobody listens: dropped with NO_SOCKET.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(b"anyone?", ("10.98.0.2", 9))
time.sleep(0.1)
EOF
}

main "$@"
