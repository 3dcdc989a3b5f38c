"""Conditions, and the entry of a profile that they choose."""

import os
from pathlib import Path

import pytest

from retis_py.errors import ProfileError
from retis_py.profiles import RunningKernel, Section
from retis_py.profiles.conditions import VersionCondition
from unit.profiles.made_up import HEAD, Kernel, read


@pytest.mark.parametrize(
    ("requirement", "matching", "others"),
    [
        (">6.2", ["6.3.0", "7.0"], ["6.2.0", "6.2.9", "5.19"]),
        (">6.2.1", ["6.2.2", "6.3"], ["6.2.1", "6.2"]),
        (">=5.14", ["5.14.0-1.el9", "6.1"], ["5.13.19"]),
        ("<6", ["5.19.17"], ["6.0.0"]),
        ("<=6.1", ["6.1.99", "5.4"], ["6.2"]),
        ("=6.1", ["6.1.0", "6.1.55"], ["6.2", "6.0"]),
        ("6.1", ["6.1", "6.99"], ["6.0", "7.0"]),
        ("^6.1.5", ["6.1.5", "6.2.0"], ["6.1.4", "7.0"]),
        ("^0.2", ["0.2.9"], ["0.3", "0.1"]),
        ("~6.1.5", ["6.1.5", "6.1.9"], ["6.2", "6.1.4"]),
        ("~6", ["6.0", "6.12"], ["7.0", "5.19"]),
        ("6.*", ["6.0", "6.12"], ["7.1"]),
        ("*", ["0.1", "6.1"], []),
        (" >= 5.14 , < 6.2 ", ["5.14", "6.1.9"], ["5.13", "6.2"]),
        (">=5.14.0-162.6", ["5.14.0-162.6.1.el9_1.x86_64", "5.15.0"], ["5.14.0-70.el9", "5.14.0"]),
    ],
)
def test_versions(requirement: str, matching: list[str], others: list[str]) -> None:
    condition = VersionCondition(requirement)
    for release in matching:
        assert condition.holds(Kernel(release)), release
        assert condition.holds(Kernel(release + "+custom")), release
    for release in others:
        assert not condition.holds(Kernel(release)), release
    assert not condition.holds(Kernel("unknown"))


@pytest.mark.parametrize("text", ["", ",", "6,", "x", "=>6", "6.1.2.3", "6.x", ">", "6-", "٦"])
def test_no_versions(text: str) -> None:
    with pytest.raises(ValueError, match="no version comparison"):
        VersionCondition(text)


VARIANTS = (
    HEAD
    + """
collect:
  - when: [{type: version, version: ">=6.9"}]
    args: {probe: new}
  - when: [{type: version, version: ">=6"}, {type: symbol, name: ip_rcv}]
    args: {probe: both}
  - when: [{type: symbol, name: old_rcv, exists: false}, {type: symbol, name: x}]
    args: {probe: absent}
"""
)


@pytest.mark.parametrize(
    ("kernel", "probe"),
    [
        (Kernel("6.12.1", frozenset({"ip_rcv", "x"})), "new"),
        (Kernel("6.1.1", frozenset({"ip_rcv", "x"})), "both"),
        (Kernel("6.1.1", frozenset({"x"})), "absent"),
        (Kernel("5.4.1", frozenset({"ip_rcv", "x"})), "absent"),
    ],
)
def test_first_variant_whose_conditions_all_hold(
    tmp_path: Path, kernel: Kernel, probe: str
) -> None:
    (profile,) = read(tmp_path, VARIANTS)
    variant = profile.variant(Section.COLLECT, kernel)
    assert variant.arguments[0].values == (probe,)


def test_symbols_are_asked_for_only_when_needed(tmp_path: Path) -> None:
    (profile,) = read(tmp_path, VARIANTS)
    kernel = Kernel("6.12.1")
    profile.variant(Section.COLLECT, kernel)
    assert kernel.asked == []


def test_no_variant_and_no_section(tmp_path: Path) -> None:
    (profile,) = read(tmp_path, VARIANTS)
    with pytest.raises(ProfileError) as caught:
        profile.variant(Section.COLLECT, Kernel("5.4.0", frozenset({"old_rcv"})))
    assert str(caught.value) == (
        f"{tmp_path}/file.yaml: profile 'p' does not apply to kernel 5.4.0: its section 'collect' "
        "asks for kernel version >=6.9; kernel version >=6 and symbol ip_rcv present; "
        "symbol old_rcv absent and symbol x present"
    )
    with pytest.raises(ProfileError, match=r"has no section 'pcap' \(only 'collect'\)"):
        profile.variant(Section.PCAP, Kernel())


def test_running_kernel() -> None:
    kernel = RunningKernel()
    assert kernel.release == os.uname().release
    assert kernel.has_symbol("ip_rcv")
    assert kernel.has_symbol("net:netif_receive_skb")
    assert not kernel.has_symbol("no_such_function_anywhere")
    assert not kernel.has_symbol("net:no_such_event")


def test_example_of_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs/profiles.md").read_text()
    (profile,) = read(tmp_path, text.split("```yaml\n")[1].split("```")[0])
    modern = Kernel("6.1.0", frozenset({"register_kprobe", "tcp_v6_rcv"}))
    assert profile.variant(Section.COLLECT, modern).name == "kernel with kprobes"
    assert profile.variant(Section.COLLECT, Kernel("5.4.0")).name == "any other kernel"
