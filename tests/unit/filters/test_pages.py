"""Filters that read what lies in pages: a packet of ours, laid out as the kernel's are."""

import re
import struct
from pathlib import Path

import pytest

from interop.native_filters import Packets, interpret
from interop.packet_builders import ethernet, ipv4, udp
from lab.capabilities import require
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.structs import define_structs, extract_declarations
from retis_py.filters.libpcap import LinkType, compile_expression
from retis_py.filters.packet import compile_packet_filter
from retis_py.filters.pages import page_macros
from retis_py.kernel.btf import Btf
from retis_py.resources import bpf_dir
from unit.collect.running import Runner, compile_text

ROOM = 8192
GATHERED = 2048  # GATHER_MAX

#: Pages are "numbered" by their addresses, as if the direct map began at zero.
TEXT = """
#include <linux/types.h>
#include <bcc/helpers.h>
#define bpf_ntohs(x) __builtin_bswap16(x)
#define offsetof(type, member) __builtin_offsetof(type, member)
#define DIRECT_MAP 0ULL
#define PAGE_STRUCTS 0ULL
#define PAGE_STRUCT_SIZE 64
struct memory {
	u32 linear, len, fragments, reach;
	u32 sizes[4];
	u64 self;
	u8 skb[512];
	u8 bytes[%(room)d];
	u8 info[512];
};
BPF_ARRAY(memories, struct memory, 1);
%(structs)s
%(pieces)s
%(filter)s
static void lay(struct memory *m, u32 i, u64 from)
{
	struct skb_shared_info *info = (struct skb_shared_info *)m->info;
	struct skb_frag_t *fragment = (struct skb_frag_t *)info->frags[i];
#if !defined(NO_skb_frag_t__netmem)
	fragment->netmem = from / PAGE_SIZE * PAGE_STRUCT_SIZE;
	fragment->offset = from %% PAGE_SIZE;
	fragment->len = m->sizes[i];
#else
	fragment->bv_page = (void *)(from / PAGE_SIZE * PAGE_STRUCT_SIZE);
	fragment->bv_offset = from %% PAGE_SIZE;
	fragment->bv_len = m->sizes[i];
#endif
}

int run(struct bpf_raw_tracepoint_args *ctx)
{
	struct packet_view view = {};
	struct gathered *gathered;
	struct memory *m;
	struct skb_shared_info *info;
	struct sk_buff *skb;
	u32 zero = 0;
	u64 self, from;
	bool verdict;

	m = memories.lookup(&zero);
	if (!m)
		return 2;
	skb = (struct sk_buff *)m->skb;
	info = (struct skb_shared_info *)m->info;
	/* Through memory the address becomes a number, to be calculated with. */
	*(volatile u64 *)&m->self = (u64)m;
	self = *(volatile u64 *)&m->self;
	from = self + offsetof(struct memory, bytes);
	skb->head = (void *)from;
	skb->end = offsetof(struct memory, info) - offsetof(struct memory, bytes);
	info->nr_frags = m->fragments;
	from += m->linear;
	lay(m, 0, from);
	from += m->sizes[0];
	lay(m, 1, from);
	from += m->sizes[1];
	lay(m, 2, from);
	view.start = self + offsetof(struct memory, bytes);
	view.linear = m->linear;
	view.len = m->len;
	gathered = gather(&view, skb, m->reach);
	verdict = packet_filter_l2(&view);
	release_gathered(gathered);
	return verdict + (gathered ? 10 : 0);
}
"""


def text(expression: str) -> str:
    wanted: dict[str, set[str]] = {}
    pieces = "".join(
        extract_declarations((bpf_dir() / f"core/{name}.h").read_text(), wanted)
        for name in ("read", "filter", "pages")
    )
    structs = define_structs([Btf.vmlinux()], wanted)
    function = compile_packet_filter(expression).l2
    return TEXT % {"room": ROOM, "structs": structs, "pieces": pieces, "filter": function}


PACKET = ethernet(ipv4(udp(bytes(range(256)) * 7, ports=(9, 53)), 17, options=bytes(8)))
LARGE = PACKET + bytes(2000) + b"\x07"

CASES = [  # linear part and fragments
    (14, 8, 20, 4000),
    (0, 100, 100, 4000),
    (34, 1, 1, 4000),
    (100, 4000),
    (42, 12, 1400),
    (14,),
    (4000,),
]


@pytest.mark.parametrize(
    "expression",
    ["udp port 53", "udp[20:4] = 0x0c0d0e0f", "ether[len - 1] = 255", "ether[1990] = 0", "ip"],
)
def test_gathered(expression: str) -> None:
    require("root")
    require("btf")
    found = compile_packet_filter(expression)
    program = compile_expression(expression, LinkType.ETHERNET)
    compiled = compile_text(text(expression), ["run"])
    reach = GATHERED if found.l2_reach is None else found.l2_reach
    with Loader(compiled, {}) as loader:
        run = Runner(loader.load("run", ProgramType.RAW_TRACEPOINT))
        for packet in (PACKET, LARGE):
            for linear, *sizes in CASES:
                all_sizes = [*sizes, 0, 0, 0, 0][:4]
                head = struct.pack("=8I", linear, len(packet), len(sizes), reach, *all_sizes)
                memory = head + bytes(8 + 512) + packet.ljust(ROOM, b"\xee") + bytes(512)
                loader.maps["memories"].update(bytes(4), memory)
                there = min(len(packet), linear + sum(sizes))
                gathers = linear < min(len(packet), reach, GATHERED)
                if gathers:
                    there = min(there, GATHERED)
                verdict = run()
                (expected,) = interpret(program, Packets([(packet[:there], len(packet))]))
                case = (expression, linear, sizes, len(packet))
                assert verdict % 10 == expected, case
                assert verdict // 10 == gathers, case


# Where the pages are

SYMBOLS = """ffffffff81000000 T _text
ffffffff82812345 D page_offset_base
ffffffff82812350 D vmemmap_base
ffffffff82812358 D vmalloc_base
ffffffffc0001000 d page_offset_base_of\t[module]
"""


@pytest.fixture
def btf() -> Btf:
    require("btf")
    return Btf.vmlinux()


def test_macros(tmp_path: Path, btf: Btf) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(SYMBOLS)
    found = page_macros(btf, path, "x86_64")
    assert found == {
        "DIRECT_MAP": "READ(*(u64 *)0xffffffff82812345ULL)",
        "PAGE_STRUCTS": "READ(*(u64 *)0xffffffff82812350ULL)",
        "PAGE_STRUCT_SIZE": found["PAGE_STRUCT_SIZE"],
    }
    assert 32 <= int(found["PAGE_STRUCT_SIZE"]) <= 128
    assert page_macros(btf, path, "aarch64") == {}


HIDDEN = re.sub("(?m)^f+[0-9a-f]+", "0" * 16, SYMBOLS)


@pytest.mark.parametrize("text", ["", SYMBOLS.replace("vmemmap_base", "vmemmap"), HIDDEN])
def test_no_macros(tmp_path: Path, btf: Btf, text: str) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(text)
    assert page_macros(btf, path, "x86_64") == {}
