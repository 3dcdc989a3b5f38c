"""Both ends of connections, each run inside a namespace: ``python flows.py COMMAND ARGUMENT…``.

echo PORT                        TCP, sends back what comes on each connection, until it is killed
talk ADDRESS PORT                a TCP connection on which something went each way, until killed
udp-echo PORT                    sends datagrams back, until it is killed
udp-talk ADDRESS PORT COUNT      so many datagrams, each answered before the next
ftp-server PORT                  answers PASV (RFC 959), sends the data back, until it is killed
ftp-client ADDRESS PORT          PASV, then something each way on the data connection, until killed
raw ADDRESS PROTOCOL             a packet of an IP protocol, with nothing in it
sctp-init ADDRESS SPORT DPORT TAG             an INIT chunk (RFC 9260) with that initiate tag
sctp-init-ack ADDRESS SPORT DPORT VTAG TAG    the answer to it

Nothing but the standard library, for any Python 3.11 on the machine.
"""

import re
import shlex
import signal
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.netns import Host

_SCTP = 132
_INIT, _INIT_ACK = 1, 2
_TEXT = b"something"
_PATIENCE = 60  # s


def words(*command: str | int) -> list[str]:
    """The words of a command that runs this file, for Host.run and Host.background."""
    return ["/usr/bin/python3", "-IS", str(Path(__file__)), *map(str, command)]


def in_namespace(host: "Host", *command: str | int) -> str:
    """A shell command that runs this file in a host's namespace."""
    return shlex.join([*host.prefix.split(), *words(*command)])


def echo(port: str) -> None:
    with _listener(port) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_send_back, args=(connection,), daemon=True).start()


def _listener(port: str) -> socket.socket:
    return socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)


def _send_back(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(2048):
            connection.sendall(data)


def talk(address: str, port: str) -> None:
    with socket.create_connection((address, int(port)), timeout=_PATIENCE) as connection:
        _exchange(connection)
        signal.pause()


def _exchange(connection: socket.socket) -> None:
    connection.sendall(_TEXT)
    received = b""
    while len(received) < len(_TEXT):
        received += connection.recv(2048)


def udp_echo(port: str) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", int(port)))
        while True:
            data, sender = server.recvfrom(2048)
            server.sendto(data, sender)


def udp_talk(address: str, port: str, count: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(_PATIENCE)
        client.connect((address, int(port)))
        for _ in range(int(count)):
            client.send(_TEXT)
            client.recv(2048)


def ftp_server(port: str) -> None:
    with socket.create_server(("", int(port))) as server:
        control, _ = server.accept()
        with control, socket.create_server(("", 0)) as passive:
            control.sendall(b"220 ready\r\n")
            _read_line(control)
            host = control.getsockname()[0].replace(".", ",")
            high, low = divmod(passive.getsockname()[1], 256)
            control.sendall(f"227 Entering Passive Mode ({host},{high},{low}).\r\n".encode())
            data, _ = passive.accept()
            _send_back(data)


def ftp_client(address: str, port: str) -> None:
    with socket.create_connection((address, int(port)), timeout=_PATIENCE) as control:
        _read_line(control)
        control.sendall(b"PASV\r\n")
        numbers = re.findall(r"\d+", _read_line(control).partition("(")[2])
        high, low = map(int, numbers[4:6])
        to = ".".join(numbers[:4]), high << 8 | low
        with socket.create_connection(to, timeout=_PATIENCE) as data:
            _exchange(data)
            signal.pause()


def _read_line(connection: socket.socket) -> str:
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(2048)
    return line.decode()


def raw(address: str, protocol: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, int(protocol)) as sender:
        sender.sendto(bytes(16), (address, 0))


def sctp_init(address: str, source: str, destination: str, tag: str) -> None:
    _send_chunk(address, (int(source), int(destination)), 0, (_INIT, int(tag)))


def sctp_init_ack(address: str, source: str, destination: str, vtag: str, tag: str) -> None:
    _send_chunk(address, (int(source), int(destination)), int(vtag), (_INIT_ACK, int(tag)))


def _send_chunk(address: str, ports: tuple[int, int], vtag: int, chunk: tuple[int, int]) -> None:
    """Send a packet whose checksum is none: who receives it must not look at that."""
    kind, tag = chunk
    header = struct.pack("!HHII", *ports, vtag, 0)
    body = struct.pack("!BBHIIHHI", kind, 0, 20, tag, 65536, 1, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, _SCTP) as sender:
        sender.sendto(header + body, (address, 0))


COMMANDS = {
    "echo": echo,
    "talk": talk,
    "udp-echo": udp_echo,
    "udp-talk": udp_talk,
    "ftp-server": ftp_server,
    "ftp-client": ftp_client,
    "raw": raw,
    "sctp-init": sctp_init,
    "sctp-init-ack": sctp_init_ack,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
