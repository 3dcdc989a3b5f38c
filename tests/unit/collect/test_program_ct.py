"""The program with conntrack's hook on kernels that lack some of what it reads."""

import pytest

from lab.capabilities import require
from retis_py.collect.program import Program, ProgramOptions, assemble
from retis_py.collectors.ct import CtCollector
from retis_py.kernel.btf import Btf
from retis_py.probes.available import Types
from retis_py.probes.probe import ProbeType
from unit.collect.running import compile_text
from unit.collectors.made_up import OtherTypes, WithoutMember


def program(types: Types) -> Program:
    options = ProgramOptions()
    return assemble([CtCollector()], {ProbeType.RAW_TRACEPOINT}, types, options)


@pytest.mark.parametrize(
    ("member", "macro"),
    [
        ("mark", "NO_nf_conn__mark"),
        ("zone", "NO_nf_conn__zone__id"),
        ("ext", "NO_nf_conn__ext"),
    ],
)
def test_without_a_member(types: Types, member: str, macro: str) -> None:
    """CONFIG_NF_CONNTRACK_MARK, CONFIG_NF_CONNTRACK_ZONES and no extension."""
    require("root")
    made = program(Types(WithoutMember(types.vmlinux, "nf_conn", member)))
    assert f"#define {macro} 1\n" in made.text
    assert f"#define {macro} 1\n" not in program(types).text
    assert compile_text(made.text, made.functions).functions


def test_without_labels(types: Types) -> None:
    """CONFIG_NF_CONNTRACK_LABELS."""
    require("root")
    enums = {"nf_ct_ext_id": {"NF_CT_EXT_HELPER": 0}}
    made = program(OtherTypes(types.vmlinux, enums, {}))
    assert "#define NF_CT_EXT_LABELS" not in made.text
    assert compile_text(made.text, made.functions).functions


def test_types_of_the_module_are_used(types: Types) -> None:
    """Where nf_conntrack is one, vmlinux knows its structs by name only."""

    class Split(Types):
        def module(self, name: str) -> Btf | None:
            return types.vmlinux if name == "nf_conntrack" else None

    made = program(Split(WithoutMember(types.vmlinux, "nf_conn", None)))
    assert "#define NO_nf_conn 1" not in made.text
    assert made.text == program(types).text
