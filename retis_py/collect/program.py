"""The program's text, put together for exactly what one collection asks for."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from retis_py.collect.followed import FREEING_TRACEPOINTS, PROGRAM_FUNCTIONS
from retis_py.collect.structs import define_structs, extract_declarations
from retis_py.collectors.collector import Collector, Part
from retis_py.events.wire import HEADER
from retis_py.kernel.btf import Btf
from retis_py.probes.available import Types
from retis_py.probes.probe import ProbeType
from retis_py.resources import bpf_dir

if TYPE_CHECKING:
    from retis_py.filters.packet import PacketFilter

PROBE_NUMBER = 0x7265_7469_0000_0001
PROBE_SHAPE = 0x7265_7469_0000_0002
"""Stand in the instructions for a probe's number and shape until they are loaded for it."""

USDT_ARGUMENTS = tuple(0x7265_7469_0000_0010 + n for n in range(6))
"""Likewise for the places of a USDT probe's arguments (bpf/core/usdt.h)."""

HANDLING_ENDS = "handling_ends"
"""The function for the return of functions that handle a packet."""

_PROBE_FILES = {
    ProbeType.KPROBE: "probes/kprobe.c",
    ProbeType.KRETPROBE: "probes/kretprobe.c",
    ProbeType.RAW_TRACEPOINT: "probes/raw_tracepoint.c",
}
_FUNCTIONS = {
    ProbeType.KPROBE: ("kprobe",),
    ProbeType.KRETPROBE: ("kretprobe_entry", "kretprobe"),
    ProbeType.RAW_TRACEPOINT: ("raw_tracepoint",),
}


class ProgramOptions(Struct, frozen=True):
    """What the text depends on beside collectors and probes."""

    perf_buffer: bool = False  # instead of the BPF ring buffer
    rings: int = 1  # a power of two; each is for the CPUs of a group
    tracking: bool = False
    follow_functions: bool = False  # with tracking: the kernel lets functions be probed
    stack_context: bool = False  # some function is reported with the packet being handled
    nft_arguments: bool = False  # some function may have nf_tables' structs among its arguments
    packet_filter: "PacketFilter | None" = None
    meta_filter: str | None = None  # C text

    @property
    def filtered(self) -> bool:
        """Whether only some packets are wanted."""
        return self.packet_filter is not None or self.meta_filter is not None


class Program(Struct, frozen=True):
    """A program's text and what is in it.

    ``parts`` are the parts of its events in the order of their bits; ``functions`` those to
    compile; ``tracking`` says whether it follows packets, ``stack_context`` whether it knows
    which one is being handled.
    """

    text: str
    parts: tuple[Part, ...]
    functions: tuple[str, ...]
    tracking: bool
    stack_context: bool


def assemble(
    collectors: Sequence[Collector],
    probe_types: Collection[ProbeType],
    types: Types,
    options: ProgramOptions,
) -> Program:
    """Put the program together."""
    pieces = _Pieces()
    parts = tuple(part for c in collectors for part in c.parts(types))
    pieces.add(_defines(collectors, types, options))
    pieces.add(_wire_structs(parts))
    pieces.splice("core/read.h")
    structs_at = pieces.reserve()
    pieces.splice("core/context.h")
    pieces.splice("core/event.h")
    pieces.add(_output(options))
    if _locates_packets(collectors, options):
        pieces.splice("core/packet.h")
    _add_packet_reading(pieces, collectors, types, options)
    _add_filters(pieces, options)
    if options.tracking:
        pieces.splice("core/tracking.h")
    for collector in collectors:
        for header in collector.headers:
            pieces.splice(header)
        for hook in collector.hooks:
            pieces.splice(f"hooks/{hook}.c")
        if collector.roles:
            pieces.splice(collector.roles)
    pieces.add(_chain_macros(collectors, options))
    pieces.splice("core/chain.h")

    if _knows_nft(collectors, options):
        pieces.splice("core/nftables.h")
    pieces.splice("core/shape.h")
    functions: list[str] = []
    if ProbeType.KRETPROBE in probe_types:
        pieces.splice("core/returns.h")
    if options.stack_context:
        pieces.splice("core/handled.h")
        functions.append(HANDLING_ENDS)
    for probe_type in ProbeType:
        if probe_type in probe_types:
            pieces.splice(_PROBE_FILES[probe_type])
            functions += _FUNCTIONS[probe_type]
    if options.tracking:
        pieces.splice("probes/tracking.c")
        functions += (
            PROGRAM_FUNCTIONS
            if options.follow_functions
            else dict.fromkeys(FREEING_TRACEPOINTS.values())
        )
    functions += _add_user_side(pieces, collectors)

    pieces.fill(structs_at, define_structs(_btfs(collectors, types, options), pieces.structs))
    return Program(pieces.text(), parts, tuple(functions), options.tracking, options.stack_context)


def _add_user_side(pieces: "_Pieces", collectors: Sequence[Collector]) -> list[str]:
    """Add the programs for USDT probes and return their functions."""
    wanting = [c for c in collectors if c.user_side and c.usdt_probes()]
    if not wanting:
        return []
    for n, placeholder in enumerate(USDT_ARGUMENTS):
        pieces.add(f"#define USDT_ARGUMENT_{n} {placeholder:#x}ULL\n")
    pieces.splice("core/usdt.h")
    pieces.splice("probes/usdt.c")
    for collector in wanting:
        pieces.splice(str(collector.user_side))
    return list(dict.fromkeys(p.function for c in wanting for p in c.usdt_probes()))


def _locates_packets(collectors: Sequence[Collector], options: ProgramOptions) -> bool:
    return options.packet_filter is not None or any("packet" in c.hooks for c in collectors)


def _knows_nft(collectors: Sequence[Collector], options: ProgramOptions) -> bool:
    return options.nft_arguments or any("nft" in c.hooks for c in collectors)


def _add_packet_reading(
    pieces: "_Pieces", collectors: Sequence[Collector], types: Types, options: ProgramOptions
) -> None:
    """Add what reads packets beyond their linear part, where something does."""
    if options.packet_filter is None and not any(c.reads_pages for c in collectors):
        return
    from retis_py.filters.pages import page_macros  # noqa: PLC0415 (most collections do without)

    macros = page_macros(types.vmlinux)
    pieces.add("".join(f"#define {name} {value}\n" for name, value in macros.items()))
    pieces.splice("core/filter.h")
    pieces.splice("core/pages.h")


def _add_filters(pieces: "_Pieces", options: ProgramOptions) -> None:
    packet_filter = options.packet_filter
    if packet_filter is not None:
        reaches = (packet_filter.l2_reach, packet_filter.l3_reach)
        known = [reach for reach in reaches if reach is not None]
        reach = max(known) if len(known) == len(reaches) else "GATHER_MAX"
        pieces.add(f"#define PACKET_FILTER_REACH {reach}\n")
        for name, text in (("L2", packet_filter.l2), ("L3", packet_filter.l3)):
            if text is not None:
                pieces.add(
                    f'#define PACKET_FILTER_{name} 1\n#line 1 "{name} packet filter"\n{text}'
                )
    if options.meta_filter is not None:
        pieces.add(f'#line 1 "metadata filter"\n{options.meta_filter}')
    pieces.splice("core/select.h")


class _Pieces:
    """The text as it grows, and the kernel structs that its pieces ask for."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.structs: dict[str, set[str]] = {}

    def add(self, text: str) -> None:
        self._texts.append(text)

    def splice(self, name: str) -> None:
        """Add a file of bpf/, with a #line so that clang's messages name it."""
        text = extract_declarations((bpf_dir() / name).read_text(), self.structs)
        self._texts.append(f'#line 1 "bpf/{name}"\n{text}')

    def reserve(self) -> int:
        self._texts.append("")
        return len(self._texts) - 1

    def fill(self, at: int, text: str) -> None:
        self._texts[at] = f'#line 1 "structs from BTF"\n{text}'

    def text(self) -> str:
        return "\n".join(self._texts)


def _btfs(collectors: Sequence[Collector], types: Types, options: ProgramOptions) -> list[Btf]:
    modules = dict.fromkeys(name for c in collectors for name in c.modules)
    if _knows_nft(collectors, options):
        modules["nf_tables"] = None
    return [types.vmlinux, *(btf for name in modules if (btf := types.module(name)))]


def _defines(collectors: Sequence[Collector], types: Types, options: ProgramOptions) -> str:
    constants: dict[str, int | str] = {
        "ETH_HLEN": 14,  # include/uapi/linux/if_ether.h
        "SNAPLEN": 0,
        "RING_FLAGS": "BPF_RB_NO_WAKEUP",
        "PROBE_NUMBER": f"{PROBE_NUMBER:#x}ULL",
        "PROBE_SHAPE": f"{PROBE_SHAPE:#x}ULL",
        "RETURN_ADDRESS_SIZE": "(sizeof(u64))",
    }
    flags = {
        "FOLLOW_FUNCTIONS": options.follow_functions,
        "LOCATE_PACKET": _locates_packets(collectors, options),
        "PACKET_FILTER": options.packet_filter is not None,
        "META_FILTER": options.meta_filter is not None,
        "TRACKING": options.tracking,
        "ROLES": any(c.roles for c in collectors),
        "STACK_CONTEXT": options.stack_context,
        "NFT_ARGUMENTS": _knows_nft(collectors, options),
    }
    constants |= {name: 1 for name, wanted in flags.items() if wanted}
    constants["FILTERED"] = int(options.filtered)
    for collector in collectors:
        constants |= collector.defines(types)
    lines = "".join(f"#define {name} {value}\n" for name, value in constants.items())
    # The return address is on the stack on x86, in a register elsewhere.
    return (
        "#include <linux/types.h>\n#include <bcc/helpers.h>\n"
        f"{lines}"
        "#ifndef __x86_64__\n#undef RETURN_ADDRESS_SIZE\n#define RETURN_ADDRESS_SIZE 0\n#endif\n"
        "#define bpf_htons(x) __builtin_bswap16(x)\n#define bpf_ntohs(x) __builtin_bswap16(x)\n"
    )


def ring_names(count: int) -> list[str]:
    """Return the names of the maps that are the rings."""
    return ["events", *(f"events_{number}" for number in range(1, count))]


def _output(options: ProgramOptions) -> str:
    """Declare the rings, and the function that puts an event into its CPU's.

    Producers on one ring fight for its lock, so CPUs that are neighbours by number use others.
    """
    begin = '#line 1 "rings"\n'
    function = "static long output(void *ctx, void *data, u64 length)\n{\n"
    if options.perf_buffer:
        call = "\treturn events.perf_submit(ctx, data, length);\n}\n"
        return f"{begin}BPF_PERF_OUTPUT(events);\n{function}{call}"
    names = ring_names(options.rings)
    maps = "".join(f"BPF_RINGBUF_OUTPUT({name}, 8);\n" for name in names)
    call = "ringbuf_output(data, length, RING_FLAGS);"
    cases = "".join(
        f"\tcase {number}:\n\t\treturn {name}.{call}\n"
        for number, name in enumerate(names)
        if number
    )
    if cases:
        cases = f"\tswitch (bpf_get_smp_processor_id() & {len(names) - 1}) {{\n{cases}\t}}\n"
    return f"{begin}{maps}{function}{cases}\treturn {names[0]}.{call}\n}}\n"


def _wire_structs(parts: Sequence[Part]) -> str:
    text = HEADER.c_text.replace("struct part_header", "struct event_header")
    for number, part in enumerate(parts):
        text += f"#define PART_{part.wire.name} {number}\n{part.wire.c_text}"
    return text


def _chain_macros(collectors: Sequence[Collector], options: ProgramOptions) -> str:
    names = [hook.replace("/", "_") for c in collectors for hook in c.hooks]
    hooks = " ".join(f"hook_{name}(c, b);" for name in names)
    passes, follow = ("passes(c)", "follow(c)") if options.tracking else ("true", "(void)(c)")
    return (
        f"#define HOOKS(c, b) do {{ {hooks} }} while (0)\n"
        f"#define PASSES(c) {passes}\n#define FOLLOW(c) {follow}\n"
    )
