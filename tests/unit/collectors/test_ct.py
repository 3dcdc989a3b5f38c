"""Where connections are tracked, and how their states are called."""

from pathlib import Path

import pytest

from retis_py.collectors.ct import CtCollector
from retis_py.errors import MissingPrerequisite
from retis_py.events.sections.ct import Ct
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from unit.collectors.made_up import OtherTypes, WithoutMember

TCP, SCTP = 6, 132


@pytest.fixture
def types(vmlinux: Btf) -> Types:
    return Types(vmlinux)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root directory with files of a kernel whose conntrack is a module."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").write_text("nf_tables 1 1 - Live 0x0\n")
    (tmp_path / "boot").mkdir()
    config = tmp_path / "boot" / f"config-{Host().machine.kernel_release}"
    config.write_text("CONFIG_NF_CONNTRACK=m\n")
    return tmp_path


def test_runs_here(types: Types) -> None:
    """The machines that run these tests have conntrack built in or loaded by them."""
    CtCollector().check(Host(), types)


def test_module_not_loaded(machine: Path, types: Types) -> None:
    with pytest.raises(MissingPrerequisite, match=r"module nf_conntrack is not loaded.*modprobe"):
        CtCollector().check(Host(machine), types)


def test_module_loaded(machine: Path, types: Types) -> None:
    (machine / "proc/modules").write_text("nf_conntrack 200704 4 nf_nat, Live 0x0\n")
    CtCollector().check(Host(machine), types)


def test_built_in(machine: Path, types: Types) -> None:
    release = Host().machine.kernel_release
    (machine / "boot" / f"config-{release}").write_text("CONFIG_NF_CONNTRACK=y\n")
    CtCollector().check(Host(machine), types)


def test_kernel_without_conntrack(vmlinux: Btf) -> None:
    with pytest.raises(MissingPrerequisite, match=r"without connection tracking.*CONFIG_NF"):
        CtCollector().check(Host(), Types(WithoutMember(vmlinux, "sk_buff", "_nfct")))


def test_module_without_types(vmlinux: Btf) -> None:
    with pytest.raises(MissingPrerequisite, match="types of the module nf_conntrack are not known"):
        CtCollector().check(Host(), Types(WithoutMember(vmlinux, "nf_conn", None)))


def section(types: Types, protocol: int, state: int) -> Ct:
    part = CtCollector().parts(types)[0]
    zeroes = dict.fromkeys(part.wire.fields, 0)
    members = {n: bytes(4) if n.endswith("addr") else 0 for n in zeroes}
    members |= {"protocol": protocol, "proto_state": state}
    built = part.build(*members.values())
    assert isinstance(built, Ct)
    return built


@pytest.mark.parametrize(
    ("protocol", "enum", "prefix"),
    [(TCP, "tcp_conntrack", "TCP_CONNTRACK_"), (SCTP, "sctp_conntrack", "SCTP_CONNTRACK_")],
)
def test_states_are_named_as_btf_names_them(
    types: Types, protocol: int, enum: str, prefix: str
) -> None:
    states = types.vmlinux.enum(enum)
    assert states
    for name, value in states.items():
        if name != "TCP_CONNTRACK_LISTEN":
            assert section(types, protocol, value).proto_state == name.removeprefix(prefix)
    assert section(types, protocol, 200).proto_state == "200"


def test_states_that_btf_does_not_know(vmlinux: Btf) -> None:
    assert section(OtherTypes(vmlinux, {"tcp_conntrack": {}}, {}), TCP, 3).proto_state == "3"


def test_simultaneous_open(types: Types) -> None:
    """What the header has as a macro beside the enum."""
    assert section(types, TCP, 9).proto_state == "SYN_SENT2"


def test_protocols_without_states(types: Types) -> None:
    for protocol in (1, 17, 58):
        assert section(types, protocol, 3).proto_state is None


def test_labels_are_left_out_where_there_are_none(vmlinux: Btf) -> None:
    assert "NF_CT_EXT_LABELS" in CtCollector().defines(Types(vmlinux))
    without = OtherTypes(vmlinux, {"nf_ct_ext_id": {"NF_CT_EXT_HELPER": 0}}, {})
    defines = CtCollector().defines(without)
    assert "NF_CT_EXT_LABELS" not in defines
    assert defines["CT_SCTP"] == SCTP
