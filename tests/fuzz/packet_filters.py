"""Expressions of pcap-filter(7): libpcap's refusal in one line, or C that has only our own text.

Names of hosts are not looked up: the process is in a network namespace of its own.
"""

import ctypes
import os
import re
from contextlib import suppress

from fuzz.target import Target, assert_safe
from retis_py.errors import RetisError
from retis_py.events.escape import escape
from retis_py.filters.offline import OfflineFilter
from retis_py.filters.packet import compile_packet_filter

SEEDS = (
    b"tcp port 80 and host 10.0.0.1",
    b"ip6 net 64:ff9b::/96 or ip net 0.0.0.0/7",
    b"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src port 22",
    b"vlan 100 and (udp portrange 4700-9000 or icmp6)",
    b"ether host 02:00:00:00:00:01 or len >= 1000",
    b"ip[6:2] & 0x1fff != 0 or ip6[40] = 135",
    b"geneve 0xb and tcp or mpls 5",
)
_WORDS = ("tcp ", "udp ", "port ", "portrange ", "host ", "net ", "ether ", "proto ", "vlan ",
          "mpls ", "and ", "or ", "not ", "src ", "dst ", "[", "]", ":", "& ", "| ", "0x", "len ",
          "protochain ", "gateway ", "broadcast ", "multicast ", "inbound ", "ip6 ", "ip ", "<< ",
          "mask ", "less ", "greater ", "::/", "255.255.255.0", "wlan ", "pppoes ", "llc ",
          "iso ", "decnet ", "ifname ", "rnr ", "-5")  # fmt: skip

_CODE = re.compile(r"[\w\s{}()\[\];,.*&|!=<>+\-?:^~/%]*", re.ASCII)
_BARRIER = '\tasm volatile("" : "+r"(A));\n'
_CLONE_NEWNET = 0x40000000


def target() -> Target:
    """See the module."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).unshare(_CLONE_NEWNET)
    return Target(check, SEEDS, [word.encode() for word in _WORDS], max_length=160)


def check(data: bytes) -> None:
    """Compile it for the kernel, and for captured packets."""
    text = data.decode(errors="surrogateescape")
    try:
        made = compile_packet_filter(text)
    except RetisError as error:
        assert_safe(escape(str(error)))
    else:
        for code in (made.l2, made.l3):
            assert code is None or _CODE.fullmatch(code.replace(_BARRIER, "")), code
    with suppress(RetisError):
        OfflineFilter(text).matches(bytes(100), 100)
