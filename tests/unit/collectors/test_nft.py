"""Verdicts by name, what the program is told, and what comes back from it."""

import struct
from dataclasses import dataclass

import pytest

from retis_py.collect.decode import Decoder
from retis_py.collectors.nft import NftCollector
from retis_py.collectors.nft_verdicts import NFT_VERDICTS, parse_nft_verdicts
from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.events.sections.nft import TARGET_WIRE, VERDICTS, WIRE, Nft
from retis_py.events.text import TextFormat
from retis_py.events.wire import HEADER
from retis_py.kernel.btf import Argument, Member
from retis_py.kernel.host import ModuleState
from retis_py.probes.probe import Probe, ProbeType, register_of


@pytest.mark.parametrize(
    ("names", "bits"),
    [
        ((), 0),
        (("return",), 1),
        (("goto", "jump", "break", "continue"), 0b11110),
        (("drop",), 1 << 5),
        (("drop", "accept", "drop"), 3 << 5),
        (("stolen", "queue", "repeat"), 7 << 7),
        (("drop", "all"), 0xFFFF),
    ],
)
def test_verdicts(names: tuple[str, ...], bits: int) -> None:
    assert parse_nft_verdicts(names) == bits


@pytest.mark.parametrize("name", ["nonsense", "", "DROP", "drop accept"])
def test_unknown_verdict(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_nft_verdicts(["drop", name])
    known = "all, continue, break, jump, goto, return, drop, accept, stolen, queue, repeat"
    assert str(caught.value) == f"--nft-verdicts: unknown verdict '{name}', use {known}"


def test_all_verdicts_have_a_bit() -> None:
    bits = [parse_nft_verdicts([name]) for name in NFT_VERDICTS]
    assert len(set(bits)) == len(bits) == 10
    assert all(bit.bit_count() == 1 and bit & parse_nft_verdicts(["all"]) for bit in bits)


class FakeBtf:
    """A kernel's nf_tables: the arguments of its function."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = [Argument("x", kind) for kind in arguments]

    def function(self, name: str) -> list[Argument] | None:
        return self._arguments if name == "__nft_trace_packet" else None

    def enum(self, name: str) -> dict[str, int] | None:
        kinds = {"NFT_TRACETYPE_UNSPEC": 0, "NFT_TRACETYPE_POLICY": 1, "NFT_TRACETYPE_RETURN": 2}
        return kinds if name == "nft_trace_types" else None

    def find(self, name: str, kind: object) -> int | None:
        return 5 if name == "nft_rule_dp" else None

    def size(self, type_id: int) -> int:
        return 8 if type_id == 5 else 0

    def members(self, type_id: int) -> list[Member]:
        assert type_id == 5
        return [Member("is_last", 1, 0, 1), Member("dlen", 1, 1, 12), Member("handle", 1, 13, 42)]


class FakeTypes:
    """With nf_tables built in."""

    def __init__(self, btf: FakeBtf) -> None:
        self.vmlinux = btf
        self.nf_tables: list[FakeBtf] = []


INFO, TYPE = "struct nft_traceinfo *", "enum nft_trace_types"
PKT, VERDICT, RULE = "struct nft_pktinfo *", "struct nft_verdict *", "struct nft_rule_dp *"


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ((INFO, "struct nft_chain *", TYPE), {"NFT_PLACE_CHAIN": 1}),  # Linux 6.1
        ((PKT, VERDICT, RULE, INFO, TYPE), {"NFT_PLACE_VERDICT": 1, "NFT_PLACE_RULE": 2}),  # 6.12
    ],
)
def test_places_of_arguments(arguments: tuple[str, ...], places: dict[str, int]) -> None:
    defines = NftCollector(0x60).defines(FakeTypes(FakeBtf(*arguments)))  # type: ignore[arg-type]
    assert defines == {
        **{name: register_of(position) for name, position in places.items()},
        "NFT_TRACETYPE_POLICY": 1,
        "NFT_TRACETYPE_RETURN": 2,
        "NFT_RULE_SIZE": 8,
        "NFT_RULE_IS_LAST": 0,
        "NFT_RULE_DLEN": 1,
        "NFT_RULE_DLEN_MASK": 0xFFF,
        "NFT_VERDICTS": 0x60,
    }


def test_section_from_the_wire() -> None:
    section, target = NftCollector().parts(None)  # type: ignore[arg-type]
    raw = struct.pack(f"={WIRE.format}", 2, 3, 4, -3, 0, b"filter", b"in\xff")
    built = section.build(*struct.unpack(f"={WIRE.format}", raw))
    assert built == Nft("filter", 2, "in\ufffd", 3, "jump", policy=False, rule_handle=4)
    assert section.build(2, 3, 0, 1, 1, b"t\0junk", b"c") == Nft("t", 2, "c", 3, "accept", True)
    assert section.build(1, 1, 0, 9, 0, b"t", b"c").verdict == "9"
    assert target.build(b"x" * TARGET_WIRE.size) == "x" * 256
    assert {*VERDICTS.values()} == {*NFT_VERDICTS}


def test_record_with_and_without_target() -> None:
    parts = NftCollector().parts(None)  # type: ignore[arg-type]
    probe = Probe(ProbeType.KPROBE, "__nft_trace_packet", (("nft_trace_type", 2),), address=0x10)
    decoder = Decoder(parts, [probe], hex)
    header = struct.pack(
        f"={HEADER.format}", *(1, 0x10, 0b11, 0, 1, 1, 0, 0, ProbeType.KPROBE.number, b"task")
    )
    body = struct.pack(f"={WIRE.format}", 2, 3, 4, -4, 0, b"t", b"c")
    target = struct.pack(f"={TARGET_WIRE.format}", b"there\0")
    event = decoder.decode(header + body + target)
    assert event.nft is not None
    assert event.nft.text(TextFormat()) == "table t (2) chain c (3) handle 4 goto chain there"
    only = decoder.decode(header.replace(struct.pack("=I", 0b11), struct.pack("=I", 1), 1) + body)
    assert only.nft is not None
    assert only.nft.verdict_chain_name is None


@dataclass
class FakeHost:
    """A machine with or without kprobes and nf_tables."""

    kprobes_unavailable: str | None = None
    loaded: bool = True

    def module_state(self, name: str, option: str) -> ModuleState:
        assert (name, option) == ("nf_tables", "CONFIG_NF_TABLES")
        return ModuleState.IN_KERNEL if self.loaded else ModuleState.NOT_LOADED


class NoTypes(FakeBtf):
    """A kernel whose BTF knows nothing of nf_tables."""

    def function(self, name: str) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize(
    ("host", "btf", "reason"),
    [
        (FakeHost("it has no kprobes"), FakeBtf(INFO), "__nft_trace_packet, but it has no kprobes"),
        (FakeHost(loaded=False), NoTypes(), "the module nf_tables is not loaded"),
        (FakeHost(), NoTypes(), "does not know the function __nft_trace_packet"),
    ],
)
def test_cannot_run(host: FakeHost, btf: FakeBtf, reason: str) -> None:
    with pytest.raises(MissingPrerequisite) as caught:
        NftCollector().check(host, FakeTypes(btf))  # type: ignore[arg-type]
    assert str(caught.value).startswith("collector nft: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_can_run_where_nf_tables_is_built_in() -> None:
    NftCollector().check(FakeHost(loaded=False), FakeTypes(FakeBtf(INFO)))  # type: ignore[arg-type]


def test_hint_without_system_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with NftCollector().running(allow_system_changes=False):
        assert "--allow-system-changes, or run nft 'table inet Retis_Table" in caplog.text
