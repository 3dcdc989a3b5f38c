"""From an expression to C, and into this kernel."""

import struct
import subprocess
import sys

import pytest

from interop.native_filters import Packets, interpret
from interop.packet_builders import ethernet, ipv4, samples, tcp
from lab.capabilities import require
from retis_py.collect.loader import Loader, ProgramType
from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.filters import libpcap, packet
from retis_py.filters.libpcap import LinkType, compile_expression
from retis_py.filters.packet import MAX_INSTRUCTIONS, PacketFilter, compile_packet_filter
from retis_py.resources import bpf_dir
from unit.collect.running import Runner, compile_text


def sum_of_bytes(count: int) -> str:
    """Five instructions a byte, which libpcap compiles in no time."""
    return " + ".join(f"ether[{i}]" for i in range(count)) + " = 5"


def test_both_forms() -> None:
    found = compile_packet_filter("udp port 53")
    assert found.missing == {}
    assert found.l2 is not None
    assert found.l3 is not None
    assert found.l2.startswith("static bool packet_filter_l2(struct packet_view *p)\n{\n")
    assert found.l3.startswith("static bool packet_filter_l3(struct packet_view *p)\n{\n")
    assert found.l2_instructions == len(compile_expression("udp port 53", LinkType.ETHERNET))
    assert found.l3_instructions == len(compile_expression("udp port 53", LinkType.RAW_IP))
    assert "packet_half(p, 0xcu, &A)" in found.l2  # the ethertype
    assert "packet_half(p, 0xcu, &A)" not in found.l3


def test_text() -> None:
    found = compile_packet_filter("ether[0] = 1 or len > 60")
    assert found == PacketFilter(
        """static bool packet_filter_l2(struct packet_view *p)
{
	u32 A = 0, X = 0;

	if (!packet_byte(p, 0x0u, &A))
		return false;
	if (A == 0x1u)
		goto L4;
	A = p->len;
	if (A <= 0x3cu)
		goto L5;
L4:
	return true;
L5:
	return false;
}
""",
        found.l3,
        6,
        found.l3_instructions,
        1,
        found.l3_reach,
        found.missing,
    )


def test_an_empty_expression_takes_everything() -> None:
    found = compile_packet_filter("")
    assert (found.l2_instructions, found.l3_instructions) == (1, 1)
    assert "return true;" in (found.l2 or "")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("arp", "expression rejects all packets"),
        ("vlan 3", "no VLAN support"),
        ("mpls", "no MPLS support"),
        ("ether host 02:00:00:00:00:01", "ethernet addresses supported only on ethernet"),
    ],
)
def test_no_l3_form(expression: str, reason: str) -> None:
    found = compile_packet_filter(expression)
    assert found.l2 is not None
    assert (found.l3, found.l3_instructions) == (None, 0)
    assert list(found.missing) == ["L3"]
    assert reason in found.missing["L3"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("tcp port", "syntax error"),
        ("tcp (", "syntax error"),
        ("nonsense", "syntax error|unknown|unresolved|aid"),
        ("tcp port nosuchport", "nosuchport"),
        ("host 1.2.3.4.5", "1.2.3.4.5|syntax error"),
        ("net 10.0.0.1/8", "non-network bits set"),
        ("ip broadcast", "netmask not known"),
        ("tcp and udp", "rejects all packets"),
        ("len / 0 = 1", "division by zero"),
        ("ip protochain 6", "loop"),
        ("inbound", "metadata"),
        ("tcp\n\nport\x1b[31m", "syntax error"),
        ("ip\0and tcp", "NUL"),
        ("host \udcff", "syntax error"),
        ("tcp port 80 " + "(" * 5000, "syntax error|memory|stack"),
    ],
)
def test_what_libpcap_refuses(expression: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        compile_packet_filter(expression)
    assert str(caught.value).startswith("--filter-packet: ")
    assert "\n" not in str(caught.value)


def test_most_instructions() -> None:
    expression = sum_of_bytes(815)
    found = compile_packet_filter(expression)
    assert 4000 < found.l2_instructions <= MAX_INSTRUCTIONS
    with pytest.raises(UsageError, match=r"L2 form has 4,\d+ BPF instructions of 4,096 at most"):
        compile_packet_filter(sum_of_bytes(825))


def test_an_or_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    expression = " or ".join(f"host 10.1.{i}.1" for i in range(100))
    count = compile_packet_filter(expression).l2_instructions
    monkeypatch.setattr(packet, "MAX_INSTRUCTIONS", count)
    compile_packet_filter(expression)
    monkeypatch.setattr(packet, "MAX_INSTRUCTIONS", count - 1)
    with pytest.raises(UsageError, match="too long"):
        compile_packet_filter(expression)


def test_libpcap_takes_too_long() -> None:
    """In a process of its own, which must end although libpcap does not."""
    code = (
        "from retis_py.filters import packet; packet.MAX_SECONDS = 0.1\n"
        "try: packet.compile_packet_filter(' or '.join(f'port {i}' for i in range(1, 3000)))\n"
        "except packet.UsageError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, timeout=20, text=True, check=True)
    assert "libpcap did not compile the expression within 0.1 s: shorten it" in ended.stdout


def test_without_libpcap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpcap, "LIBRARIES", ("libnosuch.so.1",))
    libpcap.library.cache_clear()
    with pytest.raises(MissingPrerequisite, match=r"libnosuch.*apt-get install libpcap0\.8"):
        compile_packet_filter("tcp")
    monkeypatch.undo()
    assert compile_packet_filter("tcp").l2


@pytest.mark.parametrize(
    ("expression", "l2", "l3"),
    [
        ("", 0, 0),
        ("len > 100", 0, 0),
        ("ip", 14, 1),
        ("tcp port 80", 14 + 60 + 4, 60 + 4),
        ("ether[1000:4] = 1 or ether[3:2] = 1", 1004, 1004),
        ("ip[len - 1] = 1", None, None),
        ("vlan and tcp port 80", 14 + 4 + 60 + 4, 0),
    ],
)
def test_reach(expression: str, l2: int | None, l3: int | None) -> None:
    found = compile_packet_filter(expression)
    assert (found.l2_reach, found.l3_reach) == (l2, l3)


# In the kernel

LONG = sum_of_bytes(600)
IN_KERNEL = (
    "tcp port 80",
    "icmp and host 10.0.0.1",
    "vlan and udp",
    "arp or ip6",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x64617461",
    "ip[6:2] & 0x1fff != 0 or len > 90",
    "len % (ip[8] - 60) = 2 and ip[9] << ip[8] >> 3 > 0",
    "geneve and tcp",
    "udp portrange 4000-5000 or ether[len - 4:4] = 0",
    " or ".join(f"host 10.0.{i}.1 or port {i + 70}" for i in range(40)),
    LONG,
)
ROOM = 2040

RUN = """
int run_{name}(struct bpf_raw_tracepoint_args *ctx)
{{
	struct packet_view view = {{}};
	struct packet *packet;
	u32 zero = 0;

	packet = packets.lookup(&zero);
	if (!packet)
		return 2;
	view.start = (u64)packet->bytes;
	view.linear = packet->linear;
	view.len = packet->len;
	return {name}(&view);
}}
"""


def kernel_text(forms: dict[str, str]) -> str:
    return (
        "#include <linux/types.h>\n#include <bcc/helpers.h>\n"
        "#define bpf_ntohs(x) __builtin_bswap16(x)\n"
        f"struct packet {{ u32 linear; u32 len; u8 bytes[{ROOM}]; }};\n"
        "BPF_ARRAY(packets, struct packet, 1);\n"
        + (bpf_dir() / "core/filter.h").read_text()
        + "".join(text + RUN.format(name=name) for name, text in forms.items())
    )


def test_in_the_kernel() -> None:
    """Compiled by BCC, verified and run over packets, each form decides as libpcap does."""
    require("root")
    forms, programs = {}, {}
    for i, expression in enumerate(IN_KERNEL):
        built = compile_packet_filter(expression)
        for form, text, link in (
            ("l2", built.l2, LinkType.ETHERNET),
            ("l3", built.l3, LinkType.RAW_IP),
        ):
            if text is not None:
                name = f"packet_filter_{form}_{i}"
                forms[name] = text.replace(f"packet_filter_{form}", name)
                programs[name] = compile_expression(expression, link), link
    compiled = compile_text(kernel_text(forms), [f"run_{name}" for name in forms])
    frames = [*samples().values(), ethernet(ipv4(tcp(b"data", ports=(80, 9)))), bytes(700)]
    frames += [bytes([5]) + bytes(599), frames[0][:30], b""]
    for name in forms:
        with Loader(compiled, {}) as loader:
            run = Runner(loader.load(f"run_{name}", ProgramType.RAW_TRACEPOINT))
            program, link = programs[name]
            start = 14 if link is LinkType.RAW_IP else 0
            cut = [(frame[start:], len(frame[start:]) + i % 3) for i, frame in enumerate(frames)]
            theirs = interpret(program, Packets(cut))
            for (data, length), verdict in zip(cut, theirs, strict=True):
                record = struct.pack("=II", len(data), length) + data.ljust(ROOM, b"\xee")
                loader.maps["packets"].update(bytes(4), record)
                assert run() == verdict, (name, data.hex())
