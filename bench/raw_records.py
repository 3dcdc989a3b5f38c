"""Raw records as the program makes them, without a program: varied as traffic varies.

Some hundred flows cross a few devices; each packet has its own bytes and passes a few probes.
"""

import random
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import cycle, islice
from typing import Any
from zlib import crc32

from retis_py.collectors.collector import Part
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.collectors.skb import SkbPart
from retis_py.events.wire import HEADER
from retis_py.kernel.btf import Btf
from retis_py.kernel.kallsyms import KallSyms
from retis_py.probes.available import Types
from retis_py.probes.probe import Probe, ProbeType

PROBES = [
    Probe(ProbeType.RAW_TRACEPOINT, name, (("skb", 0),))
    for name in ("skb:kfree_skb", "net:netif_receive_skb", "net:net_dev_start_xmit")
]
SNAPLEN = 255

_FLOWS = 400
_SKBS = 512  # addresses of them that come up
_STACKS = 40
_FRAMES = 10
_TASKS = [(0, b"swapper/0"), (0, b"swapper/1"), (15, b"ksoftirqd/0"), (4711, b"iperf3")]
_DEVICES = [(b"eth0", 2), (b"veth0", 5), (b"br0", 3), (b"ovs-system", 4)]
_NAMESPACES = [(1, 4026531833), (4097, 4026532301)]
_REASONS = (2, 3, 6, 16, 77)
_FUNCTIONS = (
    "kfree_skb_reason", "ip_rcv", "ip_rcv_finish", "ip_local_deliver", "ip_list_rcv", "udp_rcv",
    "tcp_v4_rcv", "tcp_v4_do_rcv", "__netif_receive_skb_one_core", "netif_receive_skb",
    "process_backlog", "__napi_poll", "net_rx_action", "handle_softirqs", "do_softirq",
    "__local_bh_enable_ip", "__dev_queue_xmit", "ip_finish_output2", "ip_output", "tcp_sendmsg",
    "udp_sendmsg", "sock_sendmsg", "__sys_sendto", "do_syscall_64", "ksys_write", "vfs_write",
)  # fmt: skip
_HEAP = 0xFFFF888100000000
_PACKET_GAP = 20_000  # ns
_PROBE_GAP = 700  # ns
_TCP, _ESTABLISHED = 6, 3

Values = tuple[Any, ...]


def all_parts() -> tuple[Part, ...]:
    """Return the parts of all collectors, with all of their options."""
    options = CollectorOptions(frozenset(SkbPart), SNAPLEN, ovs_track=True)
    types = Types(Btf.vmlinux())
    return tuple(p for collector in all_collectors(options) for p in collector.parts(types))


class Traffic:
    """Makes records; ``variants`` are the names of the parts that one may have, in turn.

    Each packet passes all variants, so that a datapath's steps can be told one by one.
    """

    def __init__(
        self, parts: Sequence[Part], variants: Sequence[Collection[str]], *, stack: bool = False
    ) -> None:
        self._layouts = [_layout(parts, variant) for variant in variants]
        self._random = rng = random.Random(7)  # noqa: S311
        self._flows = [rng.randbytes(12) for _ in range(_FLOWS)]
        self._stacks = self._make_stacks() if stack else []
        self._values: dict[str, Callable[[], Values]] = {
            "skb_tracking": lambda: self._tracking,
            "skb_drop": lambda: (rng.choice(_REASONS),),
            "skb_meta": self._meta,
            "skb_dataref": lambda: (0, rng.randrange(2), 1, 1, 1),
            "skb_gso": lambda: (0, self._length // 4096, 1448, self._length // 1448, 1),
            "packet": lambda: (self._length,),
            "dev": self._device,
            "netns": lambda: (*rng.choice(_NAMESPACES), 1),
            "ct_ipv4": self._connection,
            "ovs_upcall": lambda: (3_000_000_000 + rng.randrange(4), rng.randrange(2), 1),
            "ovs_upcall_enqueue": lambda: (self._time - 900, 1, 3_000_000_001, self._hash, 0, 1),
            "ovs_upcall_return": lambda: (self._time - 900, 1, 0),
            "ovs_flow_lookup": lambda: (
                _HEAP + self._flow * 1024,
                _HEAP,
                3,
                1,
                self._flow,
                2,
                3,
                4,
            ),
            "ovs_action": lambda: (0, 1, rng.randrange(8)),
        }
        self._time = 1_000_000_000_000

    def records(self, count: int) -> list[bytes]:
        """Return so many records."""
        return list(islice(self._records(), count))

    def _records(self) -> Iterator[bytes]:
        rng = self._random
        for index in cycle(range(10_000)):
            self._time += rng.randrange(_PACKET_GAP)
            self._flow = rng.randrange(_FLOWS)
            self._hash = crc32(self._flows[self._flow])
            self._length = rng.choice((1514, 1514, 1514, 66, rng.randrange(60, 1514)))
            self._tracking = (
                _HEAP + rng.randrange(1 << 16) * 1024,
                self._time,
                _HEAP + rng.randrange(_SKBS) * 256,
            )
            data = self._packet(index)
            task = rng.choice(_TASKS)
            for bitmap, names, layout in self._layouts:
                self._time += rng.randrange(_PROBE_GAP)
                yield self._record(bitmap, names, layout, data, task)

    def _record(
        self,
        bitmap: int,
        names: Sequence[str],
        layout: struct.Struct,
        data: bytes,
        task: tuple[int, bytes],
    ) -> bytes:
        probe = self._random.randrange(len(PROBES))
        pid, comm = task
        stack = self._random.choice(self._stacks) if self._stacks else b""
        header = (self._time, probe, bitmap, pid & 1, pid, pid, len(stack) // 8, len(data))
        values = [value for name in names for value in self._values[name]()]
        kind = ProbeType.RAW_TRACEPOINT.number
        return layout.pack(*header, kind, comm, *values) + stack + data

    def _make_stacks(self) -> list[bytes]:
        """Stacks of functions that this kernel has, at some instruction of theirs."""
        symbols = KallSyms()
        known = [found[0].address for name in _FUNCTIONS if (found := symbols.symbols(name))]
        rng = self._random
        return [
            struct.pack(
                f"={_FRAMES}Q", *(a + rng.randrange(32) for a in rng.choices(known, k=_FRAMES))
            )
            for _ in range(_STACKS)
        ]

    def _packet(self, index: int) -> bytes:
        """Return Ethernet, IPv4 and TCP with some bytes of its own, as far as it is captured."""
        flow = self._flows[self._flow]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, self._length - 14, index, 0x4000, 64, _TCP, 0)
        head = bytes(12) + b"\x08\0" + ip + flow[:8] + flow[8:] + self._random.randbytes(16)
        captured = min(self._length, SNAPLEN)
        return (head + self._random.randbytes(SNAPLEN))[:captured]

    def _meta(self) -> Values:
        checksum = self._random.getrandbits(32)
        return self._length - 14, 0, self._hash, 2, checksum, 0, 0

    def _device(self) -> Values:
        name, index = self._random.choice(_DEVICES)
        return name, index, self._random.choice((0, 2))

    def _connection(self) -> Values:
        """Return an established TCP connection, either way."""
        flow = self._flows[self._flow]
        client, server = flow[:4], flow[4:8]
        port = int.from_bytes(flow[8:10])
        info = self._random.choice((0, 3))
        ports = (port, 443, 443, port, 0, 0)
        addresses = (client, server, server, client)
        return 0x18E, 0, 0, 3, info, _TCP, _ESTABLISHED, *ports, *addresses


def _layout(
    parts: Sequence[Part], variant: Collection[str]
) -> tuple[int, Sequence[str], struct.Struct]:
    """Return the bitmap of the parts named, their names in order and how to pack a record."""
    present = [(number, part) for number, part in enumerate(parts) if part.wire.name in variant]
    formats = HEADER.format + "".join(part.wire.format for _, part in present)
    names = [part.wire.name for _, part in present]
    return sum(1 << number for number, _ in present), names, struct.Struct("=" + formats)
