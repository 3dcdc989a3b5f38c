"""Receives and sends more than one packet: ``python traffic.py COMMAND ARGUMENT…``.

frames DEVICE ETHERTYPE SOCKETS      say "listening", then "done" when each AF_PACKET socket had one
marked ADDRESS PORT LENGTH MARK      a datagram with SO_MARK
numbered ADDRESS PORT COUNT PAUSE    datagrams with their numbers in them, PAUSE s after every 16
hold PORT                            a UDP socket that nobody reads, until it is killed
drain PORT                           a UDP socket that is read, until it is killed
stream PORT COUNT                    accept COUNT TCP connections one after another and read them
bulk ADDRESS PORT BYTES              send so many bytes over TCP, in writes of 64 KiB and of 100 B
offload DEVICE FEATURE STATE         tso, gso or gro of a device: on or off (ioctl, as ethtool -K)

Nothing but the standard library, for any Python 3.11 on the machine.
"""

import ctypes
import fcntl
import shlex
import signal
import socket
import struct
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.netns import Host

_NUMBER = 8  # bytes of a datagram's number

# include/uapi/linux/sockios.h, ethtool.h
_SIOCETHTOOL = 0x8946
_SET_OFFLOAD = {"tso": 0x1F, "gso": 0x24, "gro": 0x2C}


def in_namespace(host: "Host", *words: str | float) -> str:
    """A shell command that runs this file in a host's namespace."""
    command = [
        *host.prefix.split(),
        "/usr/bin/python3",
        "-IS",
        str(Path(__file__)),
        *map(str, words),
    ]
    return shlex.join(command)


def frames(device: str, ethertype: str, sockets: str) -> None:
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(
                socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(int(ethertype)))
            )
            for _ in range(int(sockets))
        ]
        for listener in listeners:
            listener.bind((device, int(ethertype)))
        _say("listening")
        for listener in listeners:
            listener.recv(2048)
        _say("done")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def marked(address: str, port: str, length: str, mark: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(mark, 0))
        sender.sendto(bytes(int(length)), (address, int(port)))


def numbered(address: str, port: str, count: str, pause: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((address, int(port)))
        for number in range(int(count)):
            sender.send(number.to_bytes(_NUMBER, "big") + bytes(number % 1000))
            if number % 16 == 15:
                time.sleep(float(pause))


def hold(port: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("", int(port)))
        signal.pause()


def drain(port: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("", int(port)))
        while True:
            receiver.recv(2048)


def stream(port: str, count: str) -> None:
    with socket.create_server(("", int(port))) as server:
        for _ in range(int(count)):
            connection, _ = server.accept()
            with connection:
                while connection.recv(1 << 16):
                    pass


def bulk(address: str, port: str, length: str) -> None:
    with socket.create_connection((address, int(port)), timeout=60) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        left, size = int(length), 1 << 16
        while left > 0:
            sender.sendall(bytes(min(size, left)))
            left -= size
            size = 100 if size > 100 else 1 << 16


def offload(device: str, feature: str, state: str) -> None:
    value = ctypes.create_string_buffer(struct.pack("=II", _SET_OFFLOAD[feature], state == "on"))
    request = struct.pack("16sP", device.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


COMMANDS = {
    "frames": frames,
    "marked": marked,
    "numbered": numbered,
    "hold": hold,
    "drain": drain,
    "stream": stream,
    "bulk": bulk,
    "offload": offload,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
