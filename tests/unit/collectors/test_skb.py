"""Which parts of the metadata are asked for."""

import itertools
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retis_py.collectors.skb import SkbCollector, SkbPart, parse_skb_sections
from retis_py.errors import UsageError
from retis_py.kernel.btf import Btf
from retis_py.probes.available import Types

OLD = ["dev", "ns", "packet", "vlan", "arp", "ip", "ipv4", "ipv6", "tcp", "udp", "icmp", "icmpv6"]


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ([], set()),
        (["eth"], {SkbPart.ETH}),
        (["meta", "gso"], {SkbPart.META, SkbPart.GSO}),
        (["dataref", "dataref"], {SkbPart.DATAREF}),
        (["all"], set(SkbPart)),
        (["all", "meta"], set(SkbPart)),
    ],
)
def test_sections(names: list[str], parts: set[SkbPart]) -> None:
    assert parse_skb_sections(names) == parts


@pytest.mark.parametrize("name", OLD)
def test_old_names_are_warned_about(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert parse_skb_sections([name, "meta"]) == {SkbPart.META}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    hint = f"use the collector {name}" if name in ("dev", "ns") else "it is always reported"
    assert record.getMessage() == f"--skb-sections {name} is no longer needed: {hint}"


def test_new_names_are_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    parse_skb_sections(["all", *SkbPart])
    assert not caplog.records


@pytest.mark.parametrize("name", ["", "META", "all ", "mac", "data_ref", "\x1b[31m"])
def test_unknown_sections(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_skb_sections(["meta", name])
    assert str(caught.value) == (
        f"--skb-sections: unknown section '{name}', use all, eth, meta, dataref, gso"
    )


@given(st.lists(st.one_of(st.sampled_from([*SkbPart, *OLD, "all"]), st.text(max_size=8))))
def test_any_names(names: list[str]) -> None:
    known = {*SkbPart, *OLD, "all"}
    if set(names) <= known:
        expected = set(SkbPart) if "all" in names else {n for n in names if n in set(SkbPart)}
        assert parse_skb_sections(names) == expected
    else:
        with pytest.raises(UsageError):
            parse_skb_sections(names)


@pytest.mark.parametrize(
    "chosen",
    [frozenset(c) for n in range(5) for c in itertools.combinations(SkbPart, n)],
    ids=lambda chosen: "+".join(sorted(chosen)) or "none",
)
def test_parts_and_defines_agree(chosen: frozenset[SkbPart], vmlinux: Btf) -> None:
    types = Types(vmlinux)
    collector = SkbCollector(chosen, 64)
    parts = collector.parts(types)
    # The vlan tag and the packet always come; eth is a matter of printing.
    wires = {p.wire.name for p in parts}
    assert wires == {"skb_vlan_accel", "packet"} | {f"skb_{c}" for c in chosen - {SkbPart.ETH}}
    assert parts[-1].wire.name == "packet"
    assert collector.defines(types) == {"SNAPLEN": 64} | {f"SKB_{c.upper()}": 1 for c in chosen}
