"""Packets as input of filters: our C, our use of libpcap's interpreter, and that itself agree."""

import ctypes
import tempfile
from pathlib import Path

from fuzz.target import Target
from interop.native_filters import NativeFilters, Packets, libpcap
from interop.packet_builders import samples
from retis_py.filters.cbpf import reach, translate
from retis_py.filters.libpcap import InstructionStruct, LinkType, compile_expression
from retis_py.filters.offline import OfflineFilter

FILTERS = (
    "tcp port 80 or udp port 53",
    "host 10.0.0.1 and not arp",
    "ip6 and not host ::1",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip[6:2] & 0x1fff != 0 or len > 100",
    "icmp[icmptype] = icmp-echoreply or icmp6[icmp6type] == icmp6-neighborsolicit",
    "ip[0] & 0xf > 5 and ip[20:4] * 3 / 7 != ip[24:4] << 2",
    "net fe80::/10 or net 10.0.0.0/8",
    "sctp or ip proto 47",
)
LINK_FILTERS = ("vlan 5 and tcp", "ether broadcast or ether[12:2] = 0x0806", "mpls and ip")


def target() -> Target:
    """See the module; compiles the filters."""
    ethernet = [compile_expression(e, LinkType.ETHERNET) for e in (*FILTERS, *LINK_FILTERS)]
    raw = [compile_expression(e, LinkType.RAW_IP) for e in FILTERS]
    programs = [*ethernet, *raw]
    for program in programs:
        reach(program)
    texts = [translate(program, f"f{number}") for number, program in enumerate(programs)]
    native = NativeFilters(Path(tempfile.mkdtemp(prefix="retis-fuzz-")), texts)
    offline = [OfflineFilter(expression) for expression in (*FILTERS, *LINK_FILTERS)]
    interpreter = libpcap().bpf_filter
    arrays = [(InstructionStruct * len(p))(*(InstructionStruct(*i) for i in p)) for p in programs]

    def check(data: bytes) -> None:
        packets = Packets([(data, len(data)), (data[: len(data) // 2], len(data))])
        given = packets.arguments()
        ours = ctypes.create_string_buffer(packets.count)
        theirs = ctypes.create_string_buffer(packets.count)
        for number, array in enumerate(arrays):
            native._lib.run(number, *given, ours)
            native._lib.interpret(interpreter, array, *given, theirs)
            assert ours.raw == theirs.raw, number
            if number < len(offline):
                matches = bytes(offline[number].matches(*packet) for packet in packets.packets)
                assert matches == theirs.raw, number

    frames = [*samples().values()]
    return Target(check, [*frames, *(frame[14:] for frame in frames)], max_length=300)
