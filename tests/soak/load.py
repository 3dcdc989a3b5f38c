"""Sends what it is told to, line by line, from inside a namespace: ``python load.py ADDRESS PORT``.

udp RATE SECONDS    numbered datagrams, so many a second
burst COUNT         numbered datagrams, as fast as can be
tcp COUNT           connections, some bytes each
closed COUNT        datagrams to a port where nobody listens

Numbers go on from command to command. After each command it prints how many it has sent so far.
Nothing but the standard library, for any Python 3.11 on the machine.
"""

import socket
import sys
import time

_NUMBER = 8  # bytes of a datagram's number
_SLICE = 0.02  # s, in which a rate is kept


class Load:
    """Datagrams to a port, connections to the one behind it."""

    def __init__(self, address: str, port: int) -> None:
        self.sent = 0
        self._address, self._port = address, port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((address, port))

    def udp(self, rate: float, seconds: float) -> None:
        """A rate for a while; what is late is not made up for."""
        end = time.monotonic() + seconds
        owed = 0.0
        while time.monotonic() < end:
            owed += rate * _SLICE
            count, owed = int(owed), owed % 1
            self.burst(count)
            time.sleep(_SLICE)

    def burst(self, count: float) -> None:
        """As fast as they go."""
        for _ in range(int(count)):
            length = 20 + self.sent % 400
            self._socket.send(self.sent.to_bytes(_NUMBER, "big").ljust(length, b"\0"))
            self.sent += 1

    def tcp(self, count: float) -> None:
        """One connection after another."""
        for _ in range(int(count)):
            address = (self._address, self._port + 1)
            with socket.create_connection(address, timeout=30) as connection:
                connection.sendall(bytes(3000))
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)

    def closed(self, count: float) -> None:
        """Each is dropped, and answered by ICMP."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(int(count)):
                sender.sendto(b"anyone?", (self._address, self._port + 2))


def main() -> None:
    """See the module."""
    load = Load(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        command, *numbers = line.split()
        getattr(load, command)(*map(float, numbers))
        sys.stdout.write(f"{load.sent}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
