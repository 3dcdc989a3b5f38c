"""The hash that names an upcall's packet: the same of an skb and of what user space gets of it."""

import ctypes
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.capabilities import require
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.maps import Map
from retis_py.collect.program import ProgramOptions, assemble
from retis_py.collectors.ovs import OvsCollector
from retis_py.probes.available import Types
from retis_py.probes.probe import ProbeType
from unit.collect.running import Runner, compile_text
from unit.collectors.openvswitch import OvsTypes, openvswitch

# The skb is a map's value here, with its data behind it, at most up to where the filter reads.
HASHES = """
struct fake {
	u64 skb[128];
	u8 data[1024];
};
BPF_TABLE("array", u32, struct fake, fakes, 1);

int hash_kernel(struct bpf_raw_tracepoint_args *ctx)
{
	u32 zero = 0, hash = 0;
	struct fake *f = fakes.lookup(&zero);
	struct sk_buff *skb;

	if (!f)
		return 0;
	skb = (struct sk_buff *)f->skb;
	f->skb[__builtin_offsetof(struct sk_buff, data) / sizeof(u64)] = (u64)f->data;
	return hash_skb(skb, ctx->args[0], &hash) ? hash : 0;
}

int hash_user(struct bpf_raw_tracepoint_args *ctx)
{
	u32 hash = 0;

	return hash_user_packet((void *)ctx->args[0], ctx->args[1], &hash) ? hash : 0;
}
"""
SKB_SIZE = 1024

ADDRESSES = bytes(range(12))
VLAN, IPV4 = 0x8100, 0x0800


@dataclass(frozen=True, slots=True)
class Hashes:
    """Both programs; the offsets of an skb's members in bytes."""

    fakes: Map
    cutlen_is_limit: Map
    kernel: Runner
    user: Runner
    offset: Callable[[str], int]

    def of_skb(self, data: bytes, tag: tuple[int, int] | None = None, cutlen: int = 0) -> int:
        skb = bytearray(SKB_SIZE)
        struct.pack_into("=I", skb, self.offset("len"), len(data))
        if tag is not None:
            # The ethertype is in network byte order, the tag in the host's.
            struct.pack_into(">H", skb, self.offset("vlan_proto"), tag[0])
            struct.pack_into("=H", skb, self.offset("vlan_tci"), tag[1])
        self.fakes.update(bytes(4), bytes(skb) + data.ljust(1024, b"\xee"))
        return self.kernel(cutlen)

    def of_message(self, data: bytes) -> int:
        buffer = ctypes.create_string_buffer(data + b"\xdd" * 64)
        return self.user(ctypes.addressof(buffer), len(data))


@pytest.fixture(scope="module")
def hashes(types: Types) -> Iterator[Hashes]:
    require("root")
    ovs = OvsTypes(types.vmlinux, openvswitch(types.vmlinux))
    program = assemble([OvsCollector(True)], {ProbeType.RAW_TRACEPOINT}, ovs, ProgramOptions())
    compiled = compile_text(program.text + HASHES, ("hash_kernel", "hash_user"))
    members = types.vmlinux.struct("sk_buff") or {}
    if "vlan_present" in members:
        pytest.skip("a bit-field says that there is a tag, before Linux 6.2")
    with Loader(compiled, {"events": 1 << 16, "losses": 64}) as loader:
        kernel, user = (
            Runner(loader.load(name, ProgramType.RAW_TRACEPOINT)) for name in compiled.functions
        )
        yield Hashes(
            loader.maps["fakes"],
            loader.maps["ovs_cutlen_is_limit"],
            kernel,
            user,
            lambda name: members[name].bit_offset // 8,
        )


def frame(ethertype: int, rest: bytes) -> bytes:
    return ADDRESSES + struct.pack(">H", ethertype) + rest


@given(data=st.binary(max_size=200))
def test_any_bytes(hashes: Hashes, data: bytes) -> None:
    assert hashes.of_skb(data) == hashes.of_message(data)


@given(data=st.binary(min_size=14, max_size=200), extra=st.integers(0, 40))
def test_what_is_cut_off_does_not_count(hashes: Hashes, data: bytes, extra: int) -> None:
    """Kernels say how much it is, or how much it is not, which whole packets tell."""
    expected = hashes.of_message(data)
    longer = data + b"\x55" * extra
    hashes.cutlen_is_limit.update(bytes(4), bytes(4))
    assert hashes.of_skb(longer, cutlen=extra) == expected
    assert hashes.of_skb(data, cutlen=0xFFFFFFFF) == expected
    assert hashes.of_skb(longer, cutlen=len(data)) == expected


@given(
    rest=st.binary(max_size=100),
    ethertype=st.sampled_from([VLAN, 0x88A8]),
    tci=st.integers(0, 0xFFFF),
)
def test_tag_beside_the_packet(hashes: Hashes, rest: bytes, ethertype: int, tci: int) -> None:
    inside = ADDRESSES + struct.pack(">HH", ethertype, tci) + rest
    assert hashes.of_skb(ADDRESSES + rest, (ethertype, tci)) == hashes.of_message(inside)


TRANSPORTS = {
    "tcp": (6, 16, 2),
    "udp": (17, 6, 2),
    "sctp": (132, 8, 4),
}


# Name, ethertype, and a header of a protocol.
NETWORKS: list[tuple[str, int, Callable[[int], bytes]]] = [
    ("ipv4", IPV4, lambda p: bytes([0x45]) + bytes(8) + bytes([p]) + bytes(10)),
    ("ipv4 with options", IPV4, lambda p: bytes([0x47]) + bytes(8) + bytes([p]) + bytes(18)),
    ("ipv6", 0x86DD, lambda p: bytes([0x60]) + bytes(5) + bytes([p]) + bytes(33)),
]


@pytest.mark.parametrize("tags", [0, 1, 2])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n[0])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_checksum_does_not_count(
    hashes: Hashes, network: tuple[str, int, Callable[[int], bytes]], transport: str, tags: int
) -> None:
    """The kernel may complete it on the way; all other bytes of the first 64 count."""
    _, ethertype, header = network
    protocol, at, size = TRANSPORTS[transport]
    before = b"".join(struct.pack(">HH", VLAN, n) for n in range(tags))
    packet = (
        ADDRESSES
        + before
        + struct.pack(">H", ethertype)
        + header(protocol)
        + bytes(range(100, 160))
    )
    start = len(packet) - 60 + at
    changed = packet[:start] + b"\xab" * size + packet[start + size :]
    expected = hashes.of_message(packet)
    assert hashes.of_skb(packet) == expected
    assert hashes.of_skb(changed) == expected
    for place in range(64):
        if not start <= place < start + size:
            other = bytearray(packet)
            other[place] ^= 0x10
            # Another header may be another protocol's, whose checksum is elsewhere.
            assert hashes.of_skb(bytes(other)) == hashes.of_message(bytes(other)) != expected


def test_length_counts(hashes: Hashes) -> None:
    packets = [bytes(length) for length in (0, 1, 63, 64, 65, 1400)]
    assert len({hashes.of_message(packet) for packet in packets}) == len(packets)


def test_packets_of_a_ping_differ(hashes: Hashes) -> None:
    seen = {
        hashes.of_message(
            frame(IPV4, bytes([0x45]) + bytes(19) + struct.pack(">BBHHH", 8, 0, 0, 7, n))
        )
        for n in range(500)
    }
    assert len(seen) == 500
