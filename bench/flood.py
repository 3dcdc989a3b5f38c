"""Datagrams as fast as a CPU sends them: ``python flood.py ADDRESS PORT SECONDS PROCESSES``.

Each process sends 64 at a time (sendmmsg(2)). Prints how many were sent.
"""

import ctypes
import os
import socket
import struct
import subprocess
import sys
import time
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

_AT_ONCE = 64
_LENGTH = 100  # bytes of each datagram
_NAMESPACE = "retis-bench-capture"
_PORT = 4009


class _Vector(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint32),
    )


def flood(task: tuple[str, int, float]) -> int:
    """Send for so many seconds; return how many datagrams."""
    address, port, seconds = task
    data = ctypes.create_string_buffer(_LENGTH)
    name = ctypes.create_string_buffer(
        struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(address), 16
    )
    vector = _Vector(ctypes.addressof(data), _LENGTH)
    messages = (_Message * _AT_ONCE)(
        *[_Message(ctypes.addressof(name), 16, ctypes.pointer(vector), 1) for _ in range(_AT_ONCE)]
    )
    send = ctypes.CDLL(None).sendmmsg
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sent += max(0, send(sender.fileno(), messages, _AT_ONCE, 0))
    return sent


def _in_namespace(command: list[str]) -> list[str]:
    return ["ip", "netns", "exec", _NAMESPACE, *command]


class Sent(NamedTuple):
    """What a flood sent, how much of it the kernel dropped, and in which namespace (inode)."""

    sent: int
    dropped: int
    namespace: int


def flood_namespace(seconds: float) -> Sent:
    """Flood a namespace of its own."""
    subprocess.run(["ip", "netns", "add", _NAMESPACE], check=True)
    try:
        subprocess.run(_in_namespace(["ip", "link", "set", "lo", "up"]), check=True)
        flood = [sys.executable, __file__, "127.0.0.1"]
        done = subprocess.run(
            _in_namespace([*flood, str(_PORT), str(seconds), "2"]),
            check=True,
            capture_output=True,
            text=True,
        )
        counts = subprocess.run(
            _in_namespace(["cat", "/proc/net/snmp"]), check=True, capture_output=True, text=True
        ).stdout
        names, values = [line.split() for line in counts.splitlines() if line.startswith("Udp: ")]
        namespace = Path(f"/run/netns/{_NAMESPACE}").stat().st_ino
        return Sent(int(done.stdout.split()[0]), int(values[names.index("NoPorts")]), namespace)
    finally:
        subprocess.run(["ip", "netns", "del", _NAMESPACE], check=False)


if __name__ == "__main__":
    address, port, seconds, processes = sys.argv[1:]
    with Pool(int(processes)) as pool:
        tasks = [(address, int(port), float(seconds))] * int(processes)
        print(sum(pool.map(flood, tasks)), os.getloadavg()[0])
