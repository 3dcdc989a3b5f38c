"""Datagrams as fast as a CPU sends them: ``python flood.py ADDRESS PORT SECONDS PROCESSES``.

Each process sends 64 at a time (sendmmsg(2)). Prints how many were sent.
"""

import ctypes
import os
import socket
import struct
import sys
import time
from multiprocessing import Pool

_AT_ONCE = 64
_LENGTH = 100  # bytes of each datagram


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


if __name__ == "__main__":
    address, port, seconds, processes = sys.argv[1:]
    with Pool(int(processes)) as pool:
        tasks = [(address, int(port), float(seconds))] * int(processes)
        print(sum(pool.map(flood, tasks)), os.getloadavg()[0])
