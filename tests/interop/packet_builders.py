"""Packets built layer by layer, with right lengths unless told otherwise.

`samples` holds one packet for each stack of protocols.
"""

import struct
from ipaddress import ip_address

VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
VXLAN_PORT, GENEVE_PORT = 4789, 6081


def ethernet(
    payload: bytes, ethertype: int = 0x0800, tags: tuple[tuple[int, int], ...] = ()
) -> bytes:
    """Tags are pairs of ethertype and tag control information, outermost first."""
    header = bytes.fromhex("020000000001 020000000002")
    header += b"".join(struct.pack("!HH", *tag) for tag in tags)
    return header + struct.pack("!H", ethertype) + payload


def ipv4(
    payload: bytes,
    protocol: int = 6,
    *,
    options: bytes = b"",
    tos: int = 0,
    fragment: int = 0x4000,
    total: int | None = None,
    words: int | None = None,
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
) -> bytes:
    header = 20 + len(options)
    return (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | (header // 4 if words is None else words) & 15,
            tos,
            (header + len(payload) if total is None else total) & 0xFFFF,
            1,
            fragment,
            64,
            protocol,
            0,
            ip_address(source).packed,
            ip_address(target).packed,
        )
        + options
        + payload
    )


def ipv6(
    payload: bytes,
    protocol: int = 6,
    *,
    traffic_class: int = 0,
    label: int = 0,
    length: int | None = None,
    source: str = "fd00::1",
    target: str = "fd00::2",
) -> bytes:
    return (
        struct.pack(
            "!IHBB",
            6 << 28 | traffic_class << 20 | label,
            (len(payload) if length is None else length) & 0xFFFF,
            protocol,
            64,
        )
        + ip_address(source).packed
        + ip_address(target).packed
        + payload
    )


def extension(following: int, words: int = 0, stated: int | None = None) -> bytes:
    """An IPv6 extension header of 8 + 8 * ``words`` bytes."""
    return bytes((following, words if stated is None else stated)) + bytes(6 + 8 * words)


def tcp(
    payload: bytes = b"",
    *,
    options: bytes = b"",
    flags: int = 0x18,
    sequence: int = 100,
    words: int | None = None,
    ports: tuple[int, int] = (1000, 80),
) -> bytes:
    words = 5 + len(options) // 4 if words is None else words
    bits = (words & 15) << 12 | flags
    return struct.pack("!HHIIHHHH", *ports, sequence, 5, bits, 500, 0, 0) + options + payload


def udp(payload: bytes, *, ports: tuple[int, int] = (1000, 53), length: int | None = None) -> bytes:
    length = 8 + len(payload) if length is None else length
    return struct.pack("!HHHH", *ports, length & 0xFFFF, 0) + payload


def vxlan(frame: bytes, *, flags: int = 8, identifier: int = 0xA0B) -> bytes:
    return udp(struct.pack("!II", flags << 24, identifier << 8) + frame, ports=(1000, VXLAN_PORT))


def geneve(
    payload: bytes,
    ethertype: int = 0x6558,
    *,
    options: bytes = b"",
    flags: int = 0,
    words: int | None = None,
) -> bytes:
    words = len(options) // 4 if words is None else words
    header = struct.pack("!BBHI", words & 0x3F, flags, ethertype, 0xC0D << 8)
    return udp(header + options + payload, ports=(1000, GENEVE_PORT))


def geneve_option(data: bytes, *, kind: int = 0x80, words: int | None = None) -> bytes:
    return struct.pack("!HBB", 0x102, kind, len(data) // 4 if words is None else words) + data


def arp(operation: int, target_mac: bytes = bytes(6)) -> bytes:
    return (
        struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        + bytes.fromhex("020000000001 0a000001")
        + target_mac
        + bytes.fromhex("0a000002")
    )


def macsec(
    payload: bytes, ethertype: int = 0x0800, *, control: int = 0, short_length: int = 0
) -> bytes:
    sci = bytes.fromhex("0200000000010001") if control & 0x20 else b""
    header = struct.pack("!BBI", control, short_length, 7)
    return header + sci + struct.pack("!H", ethertype) + payload


def ah(
    payload: bytes, protocol: int = 6, *, check_value: bytes = bytes(12), words: int | None = None
) -> bytes:
    words = 1 + len(check_value) // 4 if words is None else words
    return struct.pack("!BBHII", protocol, words & 255, 0, 0x1234, 9) + check_value + payload


def esp(payload: bytes = bytes(20)) -> bytes:
    return struct.pack("!II", 0x1234, 9) + payload


def sctp(chunks: bytes, ports: tuple[int, int] = (1000, 80)) -> bytes:
    return struct.pack("!HHII", *ports, 0x1234, 0) + chunks


def chunk(kind: int, body: bytes = b"", *, flags: int = 0, length: int | None = None) -> bytes:
    length = 4 + len(body) if length is None else length
    return struct.pack("!BBH", kind, flags, length & 0xFFFF) + body + bytes(-len(body) % 4)


def samples() -> dict[str, bytes]:
    """One packet for each stack of protocols, by its name."""
    tcp_options = bytes.fromhex("020405b4 0402 080a0000000500000006 01 030307")
    sack = bytes.fromhex("0101 0512 00000005 00000006 00000007 00000008")
    router_alert = bytes.fromhex("94040000 07070400000000 00")
    data_chunk = chunk(0, struct.pack("!IHHI", 1, 2, 3, 46) + b"abcde", flags=3)
    sack_chunk = chunk(3, struct.pack("!IIHHHHI", 7, 8, 1, 1, 2, 3, 9))
    init_chunk = chunk(1, struct.pack("!IIHHI", 1, 2, 3, 4, 5))
    inner = ethernet(ipv4(udp(b"hello", ports=(7, 9)), 17, source="1.1.1.1", target="2.2.2.2"))
    options = geneve_option(b"\1\2\3\4") + geneve_option(b"", kind=2)
    clear = ipv4(tcp(b"in the clear"))
    network = {
        "tcp": ipv4(tcp(b"data", options=tcp_options, flags=0x12)),
        "tcp-sack": ipv4(tcp(options=sack)),
        "ip-options": ipv4(udp(b"data"), 17, options=router_alert, tos=0xBA),
        "icmp": ipv4(bytes.fromhex("0800 0000 0001 0002") + b"ping", 1),
        "esp": ipv4(esp(), 50),
        "ah-tcp": ipv4(ah(tcp(b"data")), 51),
        "ah-ah-udp": ipv4(ah(ah(udp(b"data"), 17), 51), 51),
        "sctp": ipv4(sctp(data_chunk + sack_chunk + chunk(11)), 132),
        "sctp-init": ipv4(sctp(init_chunk), 132),
        "vxlan": ipv4(vxlan(inner), 17),
        "geneve": ipv4(geneve(inner, options=options), 17),
        "geneve-ip": ipv4(geneve(ipv6(udp(b"data"), 17), 0x86DD, flags=0xC0), 17),
        "geneve-macsec": ipv4(geneve(macsec(clear), 0x88E5), 17),
        "vxlan-vxlan": ipv4(vxlan(ethernet(ipv4(vxlan(inner), 17))), 17),
        "igmp": ipv4(bytes(8), 2),
        "gre": ipv4(bytes(8), 47),
    }
    network6 = {
        "tcp6": ipv6(tcp(b"data", options=tcp_options), traffic_class=1, label=0xBEEF),
        "udp6": ipv6(udp(b"data"), 17, source="::ffff:1.2.3.4", target="::1.2.3.4"),
        "icmp6": ipv6(bytes.fromhex("8700 0000 00000000") + bytes(range(16)), 58),
        "extensions": ipv6(
            extension(43) + extension(44, 1) + extension(60) + extension(6) + tcp(), 0
        ),
        "ah6": ipv6(extension(17, 2) + udp(b"data"), 51),
        "esp6": ipv6(esp(), 50),
        "nothing6": ipv6(b"", 59),
        "sctp6": ipv6(sctp(data_chunk), 132),
        "vxlan6": ipv6(vxlan(inner), 17),
    }
    secret = macsec(bytes(40), control=0x2C)
    frames = {
        "arp-request": ethernet(arp(1, b"\2\0\0\0\0\7"), 0x0806),
        "arp-reply": ethernet(arp(2), 0x0806),
        "rarp": ethernet(arp(3) + bytes(18), 0x0806),
        "vlan": ethernet(clear, tags=((0x8100, 0x500A),)),
        "vlans": ethernet(clear, tags=((0x9100, 1), (0x88A8, 2), (0x8100, 3))),
        "macsec": ethernet(macsec(clear, control=0x20), 0x88E5),
        "macsec-vlan": ethernet(macsec(struct.pack("!HH", 5, 0x0800) + clear, 0x8100), 0x88E5),
        "macsec-macsec": ethernet(macsec(macsec(clear), 0x88E5), 0x88E5),
        "macsec-encrypted": ethernet(secret, 0x88E5, ((0x8100, 1),)),
        "mpls": ethernet(bytes(20), 0x8847),
        "pppoe": ethernet(bytes(20), 0x8864),
    }
    frames |= {name: ethernet(packet) for name, packet in network.items()}
    return frames | {name: ethernet(packet, 0x86DD) for name, packet in network6.items()}
