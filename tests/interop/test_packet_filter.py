"""Our C of a packet filter, as native code, decides as libpcap's own interpreter does."""

import shutil
from itertools import cycle, islice
from random import Random

import pytest

from interop.native_filters import NativeFilters, Packets
from interop.packet_builders import arp, ethernet, geneve, ipv4, ipv6, samples, tcp, udp, vxlan
from interop.packet_strategies import repeatable, variants
from retis_py.filters.cbpf import translate
from retis_py.filters.libpcap import CompileError, Instruction, LinkType, compile_expression
from retis_py.filters.packet import compile_packet_filter

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")

PACKETS = 2000

#: Valid for both forms.
BOTH = """
ip
ip6
tcp
udp
icmp
icmp6
sctp
not tcp
tcp port 80
udp port 53
port 80 or port 443
src port 80
tcp dst port 443
portrange 50-100
tcp src portrange 1000-5000
udp portrange 4700-9000 and not port 4789
host 10.0.0.1
src host 10.0.0.1
dst host 10.0.0.2
host 10.0.0.1 and not host 192.168.125.11
host ::1
src host fe80::1
dst host ::ffff:1.2.3.4
net 10.0.0.0/8
src net 192.168.0.0/16
dst net 10.0.0.0 mask 255.255.255.252
net fe80::/10
ip6 net 64:ff9b::/96 or ip net 0.0.0.0/7
icmp and host 10.0.0.1
tcp and (port 80 or port 53) and host 10.0.0.1
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
tcp[tcpflags] == tcp-syn
tcp[13] & 7 = 2 and not src port 80
tcp[tcpflags] & tcp-push != 0 or udp
icmp[icmptype] == icmp-echo
icmp[icmptype] = icmp-echoreply or icmp[icmpcode] = 0
icmp6[icmp6type] == icmp6-neighborsolicit
ip6[40] = 135
ip[6:2] & 0x1fff != 0
ip[6] & 0x20 != 0 and ip[6:2] & 0x1fff = 0
ip[0] & 0xf > 5
ip[8] < 65
ip[2:2] > 60
ip[12:4] = 0x0a000001
(ip[1] & 0xfc) >> 2 = 46
tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x64617461
udp[8:4] = 0x64617461
(ip[2:2] - ((ip[0] & 0xf) << 2)) - ((tcp[12] & 0xf0) >> 2) != 0
len > 100
len <= 60 and ip
greater 80
less 64
len = 54 or len = 74 or len % 7 = 3
len * 2 + 3 > 200 and len / 3 < 90
ip[len - 40] = 0
ip[8] ^ 0x40 = 0
10 / (ip[1] - 4) > 1
ip[9] << ip[1] > 40
ip[12:4] >> ip[8] = 0 or ip[16:4] >> (ip[1] & 7) = 0x0a000002
-ip[9] > 0xfffffff0 and ip
ip proto 47 or ip proto \\esp
ip proto 51
ip6 proto 17
proto 132
tcp or udp or icmp or icmp6 or sctp or ah or esp
igmp or pim or vrrp or ah
ip multicast or ip6 multicast
geneve
geneve and tcp port 80
ip and not (tcp or udp) or ip6 and not icmp6
src host 10.0.0.1 and dst port 80 and tcp[13] & 16 != 0 and len < 500
""".strip().splitlines()

#: Where there must be an Ethernet header; the L3 form is missing.
ETHERNET_ONLY = """
arp
rarp
arp[6:2] = 1
arp host 10.0.0.2
ether host 02:00:00:00:00:01
ether src 02:00:00:00:00:02
ether dst 02:00:00:00:00:01 and tcp
ether multicast
ether broadcast or arp
ether proto 0x88e5
ether proto \\ip6
ether[12:2] = 0x800
ether[0] & 1 = 0 and ip[16] >= 224
ether[len - 4:4] != 0
ether[14] & 0xf > 5 or ether[20:2] & 0x3fff != 0
vlan
vlan 3
vlan and ip
vlan 10 and vlan
vlan and tcp port 80
vlan and vlan and udp
not vlan
mpls
mpls 1024 or mpls
pppoes
pppoed
pppoes and ip
pppoes 7 and tcp port 80
llc
stp
""".strip().splitlines()


def all_packets() -> list[bytes]:
    """Frames of every kind of protocol that there is a builder for, whole and damaged."""
    random = repeatable(3)
    kinds = [*samples().values(), *more_frames(random)]
    streams = [[frame, *variants(frame, random, 60)] for frame in kinds]
    # One of each in turn, as many as are wanted.
    return list(islice((stream[i] for i in cycle(range(61)) for stream in streams), PACKETS))


def more_frames(random: Random) -> list[bytes]:
    inner = ethernet(ipv4(tcp(b"data", ports=(80, 1234), flags=2)))
    web = ipv4(tcp(b"data", ports=(40000, 80), flags=2), source="10.0.0.1")
    frames = [
        ethernet(web),
        ethernet(web, tags=((0x8100, 3),)),
        ethernet(web, tags=((0x88A8, 10), (0x8100, 3))),
        ethernet(arp(1, bytes(6)), 0x0806, ((0x8100, 10),)),
        ethernet(ipv4(udp(b"data", ports=(53, 53)), 17, source="192.168.125.11")),
        ethernet(ipv4(udp(b"data", ports=(53, 53)), 17, fragment=0x2000)),
        ethernet(ipv4(udp(b"data", ports=(53, 53)), 17, fragment=0x00B9)),
        ethernet(ipv4(tcp(), options=bytes(8), target="224.0.0.251")),
        ethernet(ipv4(geneve(inner), 17)),
        ethernet(ipv6(geneve(inner), 17), 0x86DD),
        ethernet(ipv6(tcp(ports=(9, 443)), source="::1", target="::ffff:1.2.3.4"), 0x86DD),
        ethernet(ipv4(udp(b"data"), 17), tags=((0x88A8, 10), (0x8100, 3))),
        ethernet(arp(3, bytes(6)), 0x8035),
        ethernet(ipv4(vxlan(inner), 17)),
        ethernet(ipv6(tcp(ports=(443, 80)), source="fe80::1", target="ff02::1"), 0x86DD),
        ethernet(bytes.fromhex("0040 0140") + bytes.fromhex("00400140") + web, 0x8847),
        ethernet(bytes.fromhex("11 00 0007 0030 0021") + web, 0x8864),
        ethernet(bytes.fromhex("11 09 0000 0000"), 0x8863),
        bytes.fromhex("0180c2000000 020000000002 0026 424203") + bytes(35),
        b"\xff" * 6 + ethernet(arp(1, bytes(6)), 0x0806)[6:],
    ]
    for _ in range(30):
        ports = (random.choice((80, 53, 443, 1234, 65535)), random.choice((80, 53, 4789, 99)))
        flags, tos = random.choice((2, 16, 18, 1, 0xFF)), random.choice((0, 4, 0xB8, 31, 32, 40))
        payload = random.choice((tcp(random.randbytes(9), ports=ports, flags=flags), bytes(30)))
        frames.append(ethernet(ipv4(payload, random.choice((6, 6, 1, 2, 17)), tos=tos)))
    return frames


def captured(frames: list[bytes], random: Random) -> Packets:
    """Each with its length on the wire, which may be more than is there."""
    return Packets([(f, len(f) + random.choice((0, 0, 0, 1, 40, 1400))) for f in frames])


def network_part(frame: bytes) -> bytes:
    return frame[14:]


@pytest.fixture(scope="module")
def packets() -> dict[LinkType, Packets]:
    frames = all_packets()
    assert len(frames) == PACKETS
    return {
        LinkType.ETHERNET: captured(frames, repeatable(1)),
        LinkType.RAW_IP: captured([network_part(frame) for frame in frames], repeatable(2)),
    }


Key = tuple[str, LinkType]


@pytest.fixture(scope="module")
def programs() -> dict[Key, list[Instruction]]:
    found = {}
    for expression in (*BOTH, *ETHERNET_ONLY):
        for link_type in LinkType:
            try:
                found[expression, link_type] = compile_expression(expression, link_type)
            except CompileError:
                assert expression in ETHERNET_ONLY
                assert link_type is LinkType.RAW_IP
    return found


@pytest.fixture(scope="module")
def native(
    tmp_path_factory: pytest.TempPathFactory, programs: dict[Key, list[Instruction]]
) -> NativeFilters:
    texts = [translate(program, f"f{i}") for i, program in enumerate(programs.values())]
    return NativeFilters(tmp_path_factory.mktemp("native"), texts)


@pytest.mark.parametrize("link_type", LinkType)
@pytest.mark.parametrize("expression", [*BOTH, *ETHERNET_ONLY])
def test_verdicts(
    native: NativeFilters,
    programs: dict[Key, list[Instruction]],
    packets: dict[LinkType, Packets],
    expression: str,
    link_type: LinkType,
) -> None:
    key = expression, link_type
    if key not in programs:
        with pytest.raises(CompileError):
            compile_expression(expression, link_type)
        return
    data = packets[link_type]
    ours, libpcaps = native.verdicts(list(programs).index(key), programs[key], data)
    different = [i for i in range(PACKETS) if ours[i] != libpcaps[i]]
    assert not different, [data.packets[i] for i in different[:3]]
    if link_type is LinkType.ETHERNET or expression in BOTH:
        assert set(libpcaps) == {0, 1}, f"of {PACKETS} packets {sum(libpcaps)} match: no test"


def test_the_forms_are_those_programs(programs: dict[Key, list[Instruction]]) -> None:
    """What a collection gets is what is compared here."""
    for expression in (*BOTH, *ETHERNET_ONLY):
        built = compile_packet_filter(expression)
        for link_type, text, count in (
            (LinkType.ETHERNET, built.l2, built.l2_instructions),
            (LinkType.RAW_IP, built.l3, built.l3_instructions),
        ):
            program = programs.get((expression, link_type))
            name = "packet_filter_l2" if link_type is LinkType.ETHERNET else "packet_filter_l3"
            assert text == (program and translate(program, name))
            assert count == len(program or ())
        assert set(built.missing) == ({"L3"} if built.l3 is None else set())


def test_there_are_enough(programs: dict[Key, list[Instruction]]) -> None:
    forms = [link_type for _, link_type in programs]
    assert min(forms.count(link_type) for link_type in LinkType) >= 60
