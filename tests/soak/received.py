"""The numbers of datagrams in the files of a rotated output, each of which is removed once read."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

_NUMBER = 8  # bytes of a datagram's number
_HEADERS = 14 + 20 + 8  # Ethernet, IPv4, UDP
_PROTOCOL, _UDP = 23, 17
_PORT = slice(36, 38)
_NAMESPACE = re.compile(rb'"netns":\{[^}]*"inum":(\d+)')
_DATA = re.compile(rb'"packet":\{"len":\d+,"capture_len":\d+,"data":"([^"]*)"')


class Received:
    """What one probe saw of a load: which numbers, how often any came twice, and of other packets.

    ``namespaces`` are those that count; a number is that of a datagram to ``port``, in the first.
    """

    def __init__(self, path: Path, symbol: str, namespaces: Sequence[int], port: int) -> None:
        self.events = 0  # of all probes
        self.packets = 0  # at the probe, in these namespaces
        self.numbers = 0
        self.twice = 0
        self.files = 0  # that were read
        self._path = path
        self._symbol = b'"symbol":"%b"' % symbol.encode()
        self._namespaces = namespaces
        self._port = port.to_bytes(2, "big")
        self._seen = bytearray()

    def read(self, *, ended: bool = False) -> None:
        """Read the files that are complete: those behind which there is another, or all."""
        while (path := self._file(self.files)).exists():
            if not ended and not self._file(self.files + 1).exists():
                return
            for line in path.read_bytes().splitlines()[1:]:
                self._add(line)
            path.unlink()
            self.files += 1

    def _file(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _add(self, line: bytes) -> None:
        self.events += 1
        if self._symbol not in line or not (namespace := _NAMESPACE.search(line)):
            return
        if int(namespace[1]) not in self._namespaces:
            return
        self.packets += 1
        if int(namespace[1]) != self._namespaces[0]:
            return
        found = _DATA.search(line)
        assert found, line
        packet = base64.b64decode(found[1])
        if packet[_PROTOCOL] != _UDP or packet[_PORT] != self._port:
            return
        number = int.from_bytes(packet[_HEADERS : _HEADERS + _NUMBER], "big")
        if number >= len(self._seen):
            self._seen.extend(bytes(number + 1 - len(self._seen)))
        self.twice += self._seen[number]
        self.numbers += not self._seen[number]
        self._seen[number] = 1
