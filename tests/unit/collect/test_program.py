"""The program, put together for what is asked: it compiles, and this kernel takes it."""

import re
from collections.abc import Iterable
from itertools import pairwise

import pytest

from lab.capabilities import require
from retis_py.collect.followed import FREEING_TRACEPOINTS, PROGRAM_FUNCTIONS
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.maps import MapType
from retis_py.collect.program import (
    PROBE_NUMBER,
    PROBE_SHAPE,
    Program,
    ProgramOptions,
    assemble,
    ring_names,
)
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.collectors.skb import SkbPart
from retis_py.events.wire import HEADER
from retis_py.kernel.btf import Btf
from retis_py.probes.available import Types
from retis_py.probes.probe import FED_FIELDS, REGISTER_ARGUMENTS, ProbeType, Shape
from retis_py.resources import bpf_dir
from unit.collect.running import compile_text
from unit.collectors.made_up import OtherTypes

K, KR, TP = ProbeType.KPROBE, ProbeType.KRETPROBE, ProbeType.RAW_TRACEPOINT
NAMES = ("skb-tracking", "skb-drop", "skb", "dev", "ns", "ct")
TRACKING, DROP, SKB, DEV, NS, CT = NAMES
META, DATAREF, GSO = SkbPart.META, SkbPart.DATAREF, SkbPart.GSO
EVERY_PROBE = (K, KR, TP)


def program(
    types: Types,
    collectors: Iterable[str] = NAMES,
    sections: Iterable[SkbPart] = SkbPart,
    *,
    probe_types: Iterable[ProbeType] = (TP,),
    perf_buffer: bool = False,
    rings: int = 1,
    follow_functions: bool = False,
    snaplen: int = 255,
) -> Program:
    options = CollectorOptions(frozenset(sections), snaplen)
    chosen = [c for c in all_collectors(options) if c.name in set(collectors)]
    tracking = TRACKING in set(collectors)
    return assemble(
        chosen,
        set(probe_types),
        types,
        ProgramOptions(perf_buffer, rings, tracking, follow_functions and tracking),
    )


def fields(*names: str) -> tuple[tuple[str, int], ...]:
    return tuple((name, position) for position, name in enumerate(names))


SHAPES = [
    (fields("skb"), False),
    (fields("dev"), False),
    (fields("net", "sk"), True),
    (fields(*list(FED_FIELDS.values())[:REGISTER_ARGUMENTS]), True),
    (fields(*list(FED_FIELDS.values())[-REGISTER_ARGUMENTS:]), True),
    ((), False),
]


def accepted(made: Program) -> None:
    """Compile it and have the kernel's verifier look at it in every shape."""
    require("root")
    compiled = compile_text(made.text, made.functions)
    assert list(compiled.functions) == list(made.functions)
    kinds = {TP: ("raw_tracepoint",), K: ("kprobe",), KR: ("kretprobe_entry", "kretprobe")}
    size = 1 << 16 if is_ring(compiled.maps) else 8
    with Loader(compiled, dict.fromkeys(ring_names(8), size)) as loader:
        for probe_type, functions in kinds.items():
            for function in functions:
                if function not in compiled.functions:
                    continue
                for arguments, stack in SHAPES:
                    shape = Shape(probe_type, arguments, stack).number
                    kind = ProgramType.RAW_TRACEPOINT if probe_type is TP else ProgramType.KPROBE
                    loader.load(function, kind, constants={PROBE_NUMBER: 3, PROBE_SHAPE: shape})
        for function in dict.fromkeys(FREEING_TRACEPOINTS.values()):
            if function in compiled.functions:
                loader.load(function, ProgramType.RAW_TRACEPOINT)
        for function in PROGRAM_FUNCTIONS:
            if function in compiled.functions:
                shape = Shape(ProbeType.KPROBE, fields("skb"), stack=False).number
                loader.load(
                    function, ProgramType.KPROBE, constants={PROBE_NUMBER: 3, PROBE_SHAPE: shape}
                )


def is_ring(maps: Iterable[object]) -> bool:
    return any(getattr(m, "type", None) == MapType.RINGBUF for m in maps)


# Every pair of choices (a collector or section, with or without it) is in one of these, and each
# collector stands alone once.
CHOICES: list[tuple[tuple[str, ...], tuple[SkbPart, ...]]] = [
    (NAMES, (META, DATAREF, GSO)),
    ((TRACKING,), ()),
    ((DROP,), ()),
    ((SKB,), ()),
    ((DEV,), ()),
    ((NS,), ()),
    ((CT,), ()),
    ((SKB, NS, CT), (META, DATAREF)),
    ((SKB, DEV, TRACKING), (DATAREF,)),
    ((SKB, DROP, CT), (GSO, META)),
    ((SKB, TRACKING, NS), (GSO, DATAREF)),
    ((DROP, DEV, NS), ()),
]


@pytest.mark.parametrize(
    ("collectors", "sections"), CHOICES, ids=["+".join((*c, *s)) for c, s in CHOICES]
)
def test_combinations(
    types: Types, collectors: tuple[str, ...], sections: tuple[SkbPart, ...]
) -> None:
    accepted(program(types, collectors, sections))


def test_functions(types: Types) -> None:
    """Without kprobes a kernel takes their programs all the same, if it has uprobes."""
    made = program(types, probe_types=EVERY_PROBE)
    assert set(made.functions) == {
        "raw_tracepoint",
        "kprobe",
        "kretprobe_entry",
        "kretprobe",
        *FREEING_TRACEPOINTS.values(),
    }
    accepted(made)


def test_functions_of_the_stack_that_packets_are_followed_through(types: Types) -> None:
    made = program(types, follow_functions=True)
    assert set(made.functions) == {"raw_tracepoint", *PROGRAM_FUNCTIONS}
    accepted(made)


def test_perf_buffers(types: Types) -> None:
    made = program(types, probe_types=EVERY_PROBE, perf_buffer=True)
    assert "BPF_RINGBUF_OUTPUT" not in made.text
    accepted(made)


@pytest.mark.parametrize("rings", [1, 2, 8])
def test_rings(types: Types, rings: int) -> None:
    made = program(types, probe_types=EVERY_PROBE, rings=rings)
    assert made.text.count("BPF_RINGBUF_OUTPUT(") == rings
    accepted(made)


@pytest.mark.parametrize("snaplen", [14, 1024])
def test_snaplen(types: Types, snaplen: int) -> None:
    accepted(program(types, (SKB,), (), snaplen=snaplen))


class Lacking(Btf):
    """This kernel's types without some members and structs, as other kernels are."""

    def __init__(self, real: Btf, missing: set[str]) -> None:
        super().__init__(real._handle)
        self._missing = missing

    def struct(self, name: str):  # type: ignore[no-untyped-def]
        members = super().struct(name)
        if name in self._missing or members is None:
            return None
        return {n: m for n, m in members.items() if f"{name}.{n}" not in self._missing}


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        ({"net.net_cookie"}, "before Linux 5.7"),
        ({"sk_buff.vlan_present"}, "since Linux 6.2"),
    ],
)
def test_other_kernels(types: Types, missing: set[str], why: str) -> None:
    accepted(program(Types(Lacking(types.vmlinux, missing))))


def test_a_kernel_whose_reasons_lack_not_dropped_yet(types: Types) -> None:
    """Linux 5.17 has SKB_DROP_REASON_NOT_SPECIFIED = 0 and no more."""
    older = OtherTypes(types.vmlinux, {"skb_drop_reason": {"SKB_DROP_REASON_NOT_SPECIFIED": 0}}, {})
    accepted(program(older, (DROP,), ()))


# The text


def test_only_what_is_asked_for_is_in_the_text(types: Types) -> None:
    text = program(types, (DEV,), ()).text
    assert "hook_dev(c, b);" in text
    for absent in ("hook_ns", "hook_skb", "tracked_packets", "skb_shared_info", "kretprobe_entry"):
        assert absent not in text
    assert "KERNEL_STRUCT(" not in text.replace("KERNEL_STRUCT in", "")


def test_the_text_names_its_files(types: Types) -> None:
    """So that clang's and the verifier's messages lead to the right line."""
    lines = program(types, probe_types=EVERY_PROBE).text.split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("#line 1 ")]
    names = [lines[i].split('"')[1] for i in starts]
    assert "bpf/hooks/packet.c" in names
    assert "structs from BTF" in names
    for (name, start), (_, end) in pairwise([*zip(names, starts, strict=True), ("", len(lines))]):
        path = bpf_dir().parent / name
        if not name.startswith("bpf/"):
            continue
        ours = path.read_text().split("\n") if path.exists() else (
            (bpf_dir() / name.removeprefix("bpf/")).read_text().split("\n")
        )  # fmt: skip
        spliced = lines[start + 1 : end]
        for number, line in enumerate(ours[: len(spliced)]):
            assert spliced[number] == line or not spliced[number] or name == names[-1]


def test_parts_are_numbered_in_the_hooks_order(types: Types) -> None:
    made = program(types)
    numbers = dict(re.findall(r"#define PART_(\w+) (\d+)", made.text))
    assert {part.wire.name: str(n) for n, part in enumerate(made.parts)} == numbers
    # Where each part is added in the text: bits and bytes must be in one order.
    hooks = re.search(r"#define HOOKS\(c, b\) do \{ (.*) \} while", made.text)
    assert hooks
    assert re.findall(r"hook_(\w+)\(c, b\);", hooks[1]) == [
        "skb_tracking", "skb_drop", "skb", "packet", "dev", "ns", "ct",
    ]  # fmt: skip
    for part in made.parts:
        assert made.text.count(f"ADD_PART(b, {part.wire.name})") == 1
        assert part.wire.c_text in made.text
    assert HEADER.c_text.replace("part_header", "event_header") in made.text


def test_the_skb_hook_adds_its_parts_in_their_order(types: Types) -> None:
    made = program(types)
    ours = [p.wire.name.removeprefix("skb_") for p in made.parts if p.section == "skb"]
    body = made.text[made.text.index("static void hook_skb(") :]
    assert re.findall(r"add_(\w+)\(c->skb, b\)", body[: body.index("\n}\n")]) == ours


def test_placeholders_are_unlike_anything_else() -> None:
    assert PROBE_NUMBER != PROBE_SHAPE
    assert all(constant >> 32 for constant in (PROBE_NUMBER, PROBE_SHAPE))
