"""Drop reasons under the kernel's own names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retis_py.collectors.skb_drop import SkbDropCollector, drop_namer
from retis_py.errors import MissingPrerequisite
from retis_py.events.sections.skb_drop import SkbDrop
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from retis_py.probes.probe import parse_probe
from unit.collectors.made_up import OtherTypes

SUBSYSTEMS = {
    "SKB_DROP_REASON_SUBSYS_CORE": 0,
    "SKB_DROP_REASON_SUBSYS_MAC80211_UNUSABLE": 1,
    "SKB_DROP_REASON_SUBSYS_MAC80211_MONITOR": 2,
    "SKB_DROP_REASON_SUBSYS_OPENVSWITCH": 3,
    "SKB_DROP_REASON_SUBSYS_NOVEL": 4,
    "SKB_DROP_REASON_SUBSYS_NUM": 5,
}
# net/openvswitch/drop.h and net/mac80211/drop.h of Linux 6.12.
OPENVSWITCH = {
    "__OVS_DROP_REASON": 3 << 16,
    "OVS_DROP_LAST_ACTION": 3 << 16 | 1,
    "OVS_DROP_ACTION_ERROR": 3 << 16 | 2,
    "OVS_DROP_EXPLICIT": 3 << 16 | 3,
}
MAC80211 = {
    "RX_CONTINUE": 1,  # SKB_CONSUMED
    "RX_QUEUED": 0,  # SKB_NOT_DROPPED_YET
    "RX_DROP_MONITOR": 2 << 16,
    "RX_DROP_M_UNEXPECTED_4ADDR_FRAME": 2 << 16 | 1,
    "RX_DROP_UNUSABLE": 1 << 16,
    "RX_DROP_U_MIC_FAIL": 1 << 16 | 1,
    "RX_DROP_U_REPLAY": 1 << 16 | 2,
}


@pytest.fixture
def other(vmlinux: Btf) -> Types:
    """A kernel with both subsystems' modules loaded."""
    return OtherTypes(
        vmlinux,
        {"skb_drop_reason_subsys": SUBSYSTEMS},
        {
            "openvswitch": {"ovs_drop_reason": OPENVSWITCH},
            "mac80211": {"mac80211_drop_reason": MAC80211},
        },
    )


def test_core_reasons(vmlinux: Btf) -> None:
    reasons = vmlinux.enum("skb_drop_reason")
    assert reasons
    assert len(reasons) > 50
    name = drop_namer(Types(vmlinux))
    for full, value in reasons.items():
        if full in ("SKB_DROP_REASON_MAX", "SKB_DROP_REASON_SUBSYS_MASK"):
            continue
        found = name(value)
        assert found.subsys is None
        assert found.drop_reason in full
        assert not found.drop_reason.startswith("SKB_")
    assert name(reasons["SKB_DROP_REASON_NO_SOCKET"]) == SkbDrop("NO_SOCKET")
    assert name(reasons["SKB_CONSUMED"]) == SkbDrop("CONSUMED")


def test_unknown_core_reason_is_its_number(vmlinux: Btf) -> None:
    name = drop_namer(Types(vmlinux))
    assert name(65535) == SkbDrop("65535")
    assert name(65535) is name(65535)  # found once


@pytest.mark.parametrize(
    ("raw", "subsystem", "reason"),
    [
        (3 << 16 | 1, "openvswitch", "LAST_ACTION"),
        (3 << 16 | 3, "openvswitch", "EXPLICIT"),
        (3 << 16 | 77, "openvswitch", "77"),
        (1 << 16, "mac80211_unusable", "UNUSABLE"),
        (1 << 16 | 1, "mac80211_unusable", "U_MIC_FAIL"),
        (1 << 16 | 2, "mac80211_unusable", "U_REPLAY"),
        (2 << 16 | 1, "mac80211_monitor", "M_UNEXPECTED_4ADDR_FRAME"),
        (4 << 16 | 9, "novel", "9"),
    ],
)
def test_subsystems(other: Types, raw: int, subsystem: str, reason: str) -> None:
    assert drop_namer(other)(raw) == SkbDrop(reason, subsystem)


def test_a_subsystem_that_the_kernel_does_not_name(other: Types) -> None:
    assert drop_namer(other)(99 << 16 | 1) == SkbDrop(str(99 << 16 | 1))


def test_a_subsystem_whose_module_is_not_loaded(vmlinux: Btf) -> None:
    types = OtherTypes(vmlinux, {"skb_drop_reason_subsys": SUBSYSTEMS, "ovs_drop_reason": {}}, {})
    assert drop_namer(types)(3 << 16 | 1) == SkbDrop("1", "openvswitch")


def test_this_kernels_subsystems(vmlinux: Btf) -> None:
    subsystems = vmlinux.enum("skb_drop_reason_subsys") or {}
    ovs = vmlinux.enum("ovs_drop_reason") or {}
    number = subsystems.get("SKB_DROP_REASON_SUBSYS_OPENVSWITCH")
    if number is None:
        pytest.skip("a kernel without drop reasons of subsystems (before Linux 6.4)")
    found = drop_namer(Types(vmlinux))(number << 16 | 0xFFFE)
    assert found == SkbDrop(str(0xFFFE), "openvswitch")
    for full, value in ovs.items():
        if full.startswith("OVS_DROP_"):
            assert drop_namer(Types(vmlinux))(value).drop_reason == full.removeprefix("OVS_DROP_")


@given(st.integers(0, 0xFFFFFFFF))
def test_any_reason_has_a_name(vmlinux: Btf, raw: int) -> None:
    found = drop_namer(Types(vmlinux))(raw)
    assert found.drop_reason


def test_collector(vmlinux: Btf) -> None:
    collector, types = SkbDropCollector(), Types(vmlinux)
    collector.check(Host(), types)
    assert [parse_probe(p).target for p in collector.probes()] == ["skb:kfree_skb"]
    assert collector.defines(types) == {"SKB_NOT_DROPPED_YET": 0, "SKB_CONSUMED": 1}
    (part,) = collector.parts(types)
    assert part.build(2).drop_reason


def test_a_kernel_without_reasons(vmlinux: Btf) -> None:
    types = OtherTypes(vmlinux, {"skb_drop_reason": {}}, {})
    with pytest.raises(MissingPrerequisite, match=r"gives no drop reasons.*tp:skb:kfree_skb"):
        SkbDropCollector().check(Host(), types)
    assert SkbDropCollector().defines(types) == {}
