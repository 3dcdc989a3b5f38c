"""Hypothesis strategies of packets, and damage done to them.

`frames` draws a whole packet, layer by layer, now and then with a wrong length, an odd option or a
layer that does not belong there. `variants` cuts and corrupts one packet in many ways without
drawing each of them, which keeps some ten thousand packets within seconds.
"""

from collections.abc import Iterator
from random import Random

from hypothesis import strategies as st

from interop.packet_builders import (
    GENEVE_PORT,
    VLAN_TYPES,
    VXLAN_PORT,
    ah,
    arp,
    chunk,
    esp,
    ethernet,
    extension,
    geneve,
    geneve_option,
    ipv4,
    ipv6,
    macsec,
    sctp,
    tcp,
    udp,
    vxlan,
)

EXTENSIONS = (0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254)

_bytes8 = st.integers(0, 0xFF)
_u16 = st.integers(0, 0xFFFF)
_u32 = st.integers(0, 0xFFFFFFFF)
_port = st.sampled_from((80, 53, 443, VXLAN_PORT, 8472, GENEVE_PORT, 0, 65535))
_v4 = st.sampled_from(("10.0.0.1", "192.168.125.11", "0.0.0.0", "255.255.255.255"))  # noqa: S104
_v6 = st.one_of(
    st.sampled_from(
        ("::", "::1", "fe80::1", "::1.2.3.4", "::ffff:1.2.3.4", "1:0:0:2:0:0:0:3", "64:ff9b::1")
    ),
    st.lists(st.sampled_from((0, 0, 1, 0xABCD)), min_size=8, max_size=8).map(
        lambda words: ":".join(f"{word:x}" for word in words)
    ),
)


#: Bytes behind kind and length, of those TCP and IPv4 options that have a size of their own.
_BODY = {2: 2, 3: 1, 4: 0, 5: 16, 8: 8, 34: 8, 19: 16, 68: 10, 130: 9, 131: 5, 148: 2}


def _rarely(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 7)) == 7


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


@st.composite
def _wrong(draw: st.DrawFn, right: int, most: int) -> int | None:
    """None (the builder knows), and now and then a wrong number near the right one or anywhere."""
    if not _rarely(draw):
        return None
    near = st.integers(max(0, right - 9), right + 9)
    return min(draw(st.one_of(near, st.integers(0, most))), most)


@st.composite
def _typed_options(draw: st.DrawFn, kinds: tuple[int, ...], most: int) -> bytes:
    """IPv4 and TCP options: kind, length, data; 0 and 1 stand alone."""
    options = b""
    for kind in draw(st.lists(st.one_of(st.sampled_from(kinds), _bytes8), max_size=5)):
        if kind < 2:
            options += bytes((kind,))
            continue
        size = draw(st.integers(0, 20)) if _rarely(draw) else _BODY.get(kind, 4)
        body = draw(st.binary(min_size=size, max_size=size))
        length = draw(_bytes8) if _rarely(draw) else 2 + len(body)
        options += bytes((kind, length)) + body
    return _padded(options[:most])


@st.composite
def tcp_segments(draw: st.DrawFn) -> bytes:
    kinds = (0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 19, 20, 28, 29, 30, 34, 254)
    options = draw(st.one_of(st.just(b""), _typed_options(kinds, 40)))
    return tcp(
        draw(st.binary(max_size=12)),
        options=options,
        flags=draw(st.integers(0, 0xFFF)),
        sequence=draw(_u32),
        words=draw(_wrong(5 + len(options) // 4, 15)),
        ports=(draw(_port), draw(_port)),
    )


@st.composite
def sctp_packets(draw: st.DrawFn) -> bytes:
    chunks = b""
    for kind in draw(st.lists(st.one_of(st.integers(0, 16), _bytes8), max_size=4)):
        fixed = {0: 12, 1: 16, 2: 16, 3: 12}.get(kind, 0)
        body = draw(st.binary(min_size=fixed, max_size=fixed + 6))
        length = draw(_wrong(4 + len(body), 0xFFFF))
        chunks += chunk(kind, body, flags=draw(_bytes8), length=length)
    return sctp(chunks, (draw(_port), draw(_port)))


@st.composite
def udp_datagrams(draw: st.DrawFn, depth: int) -> bytes:
    shape = draw(st.sampled_from(("plain", "vxlan", "geneve")))
    if shape == "plain" or depth == 0:
        body = draw(st.binary(max_size=20))
        length = draw(_wrong(8 + len(body), 0xFFFF))
        return udp(body, ports=(draw(_port), draw(_port)), length=length)
    if shape == "vxlan":
        return vxlan(draw(frames(depth - 1)), flags=draw(_bytes8))
    options = b"".join(
        geneve_option(bytes(4 * words), kind=draw(_bytes8), words=draw(_wrong(words, 31)))
        for words in draw(st.lists(st.integers(0, 3), max_size=3))
    )
    ethertype, payload = draw(
        st.one_of(frames(depth - 1).map(lambda frame: (0x6558, frame)), network_packets(depth - 1))
    )
    return geneve(
        payload,
        ethertype,
        options=options,
        flags=draw(_bytes8),
        words=draw(_wrong(len(options) // 4, 63)),
    )


@st.composite
def transports(draw: st.DrawFn, depth: int) -> tuple[int, bytes]:
    """A protocol number and what an IP packet carries under it."""
    kind = draw(
        st.sampled_from(("tcp", "tcp", "udp", "udp", "sctp", "icmp", "icmp6", "ah", "esp", "other"))
    )
    if kind == "tcp":
        return 6, draw(tcp_segments())
    if kind == "udp":
        return 17, draw(udp_datagrams(depth))
    if kind == "sctp":
        return 132, draw(sctp_packets())
    if kind == "esp":
        return 50, esp()
    if kind == "ah" and depth:
        protocol, payload = draw(transports(depth - 1))
        value = bytes(4 * draw(st.integers(0, 5)))
        words = draw(_wrong(1 + len(value) // 4, 255))
        return 51, ah(payload, protocol, check_value=value, words=words)
    number = {"icmp": 1, "icmp6": 58}.get(kind)
    return draw(_bytes8) if number is None else number, draw(st.binary(max_size=30))


@st.composite
def ipv4_packets(draw: st.DrawFn, depth: int) -> bytes:
    protocol, payload = draw(transports(depth))
    options = draw(st.one_of(st.just(b""), _typed_options((0, 1, 7, 68, 130, 131, 148), 40)))
    header = 20 + len(options)
    return ipv4(
        payload,
        protocol,
        options=options,
        tos=draw(_bytes8),
        fragment=draw(st.one_of(st.sampled_from((0, 0x4000, 0x2000, 0xB9)), _u16)),
        total=draw(_wrong(header + len(payload), 0xFFFF)),
        words=draw(_wrong(header // 4, 15)),
        source=draw(_v4),
        target=draw(_v4),
    )


@st.composite
def ipv6_packets(draw: st.DrawFn, depth: int) -> bytes:
    protocol, payload = draw(transports(depth))
    for kind in draw(st.lists(st.sampled_from((*EXTENSIONS, 59)), max_size=3)):
        words = draw(st.integers(0, 2))
        payload = extension(protocol, words, draw(_wrong(words, 255))) + payload
        protocol = kind
    return ipv6(
        payload,
        protocol,
        traffic_class=draw(_bytes8),
        label=draw(st.integers(0, 0xFFFFF)),
        length=draw(_wrong(len(payload), 0xFFFF)),
        source=draw(_v6),
        target=draw(_v6),
    )


@st.composite
def network_packets(draw: st.DrawFn, depth: int = 2) -> tuple[int, bytes]:
    """An ethertype and what a frame carries under it."""
    kind = draw(st.sampled_from(("ipv4", "ipv4", "ipv6", "ipv6", "arp", "macsec", "other")))
    if kind == "ipv4":
        return 0x0800, draw(ipv4_packets(depth))
    if kind == "ipv6":
        return 0x86DD, draw(ipv6_packets(depth))
    if kind == "arp":
        operation = draw(st.one_of(st.integers(0, 5), _u16))
        return 0x0806, arp(
            operation, draw(st.sampled_from((bytes(6), b"\x0a\x0b\x0c\x0d\x0e\x0f")))
        )
    if kind == "macsec" and depth:
        ethertype, payload = draw(network_packets(depth - 1))
        control = draw(st.sampled_from((0, 0, 0x20, 0x40, 0x2C, 0x08)) | _bytes8)
        return 0x88E5, macsec(payload, ethertype, control=control, short_length=draw(_bytes8))
    return draw(st.sampled_from((0x8847, 0x8863, 0x88CC, 0x6558, *VLAN_TYPES)) | _u16), draw(
        st.binary(max_size=30)
    )


@st.composite
def frames(draw: st.DrawFn, depth: int = 2) -> bytes:
    """A whole packet from its Ethernet header on; ``depth`` bounds tunnels, AH and MACsec."""
    ethertype, payload = draw(network_packets(depth))
    tags = draw(st.lists(st.tuples(st.sampled_from(VLAN_TYPES), _u16), max_size=3))
    return ethernet(payload, ethertype, tuple(tags))


# Damage


def repeatable(seed: int | str) -> Random:
    """A generator that yields the same on every run."""
    return Random(seed)  # noqa: S311 -- repeatable, not secret


def variants(packet: bytes, random: Random, count: int = 60) -> Iterator[bytes]:
    """Yield the packet cut short, with bytes changed, or both, in ``count`` ways."""
    for turn in range(count):
        damaged = bytearray(packet)
        if turn % 3:
            for _ in range(random.randint(1, 3)):
                at = random.randrange(len(packet)) if packet else 0
                value = random.choice(
                    (0, 1, 0xFF, random.randrange(256), damaged[at] ^ 1 << random.randrange(8))
                )
                damaged[at] = value
        yield bytes(damaged[: random.randint(0, len(packet))] if turn % 3 != 1 else damaged)
