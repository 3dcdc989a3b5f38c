"""Sends what a test names, from inside a namespace: ``python sender.py COMMAND ARGUMENT…``.

udp ADDRESS PORT LENGTH [PRIORITY]   a datagram of LENGTH bytes, with SO_PRIORITY
udp-many ADDRESS PORT LENGTH COUNT   COUNT of them from one socket
tcp ADDRESS PORT LENGTH              LENGTH bytes to a listener, in one write
sink PORT                            accept one TCP connection and read it to its end
raw DEVICE HEX                       a frame as it is, link layer included (AF_PACKET)
tun NAME ADDRESS REMOTE PORT         a datagram through a tun device made for it: no link layer

Nothing but the standard library, for any Python 3.11 on the machine.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

# include/uapi/linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def udp(address: str, port: str, length: str, priority: str = "0") -> None:
    with _datagram_socket(address) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, int(priority))
        sender.sendto(bytes(int(length)), (address, int(port)))


def udp_many(address: str, port: str, length: str, count: str) -> None:
    with _datagram_socket(address) as sender:
        for _ in range(int(count)):
            sender.sendto(bytes(int(length)), (address, int(port)))


def tcp(address: str, port: str, length: str) -> None:
    with socket.create_connection((address, int(port)), timeout=30) as sender:
        sender.sendall(bytes(int(length)))


def sink(port: str) -> None:
    with socket.create_server(("", int(port))) as server:
        connection, _ = server.accept()
        with connection:
            while connection.recv(1 << 16):
                pass


def raw(device: str, frame: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((device, 0))
        sender.send(bytes.fromhex(frame))


def tun(name: str, address: str, remote: str, port: str) -> None:
    device = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI)
    fcntl.ioctl(device, TUNSETIFF, request)
    subprocess.run(["ip", "addr", "add", f"{address}/24", "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    udp(remote, port, "10")
    os.close(device)


def _datagram_socket(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, socket.SOCK_DGRAM)


COMMANDS = {
    "udp": udp,
    "udp-many": udp_many,
    "tcp": tcp,
    "sink": sink,
    "raw": raw,
    "tun": tun,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
