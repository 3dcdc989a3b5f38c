from pathlib import Path

import pytest

from retis_py.collectors.needed_module import NeededModule, check_module, no_module_types
from retis_py.errors import MissingPrerequisite
from retis_py.kernel.host import Host

MODULE = NeededModule("nf_conntrack", "CONFIG_NF_CONNTRACK", "nothing is tracked", "modprobe it")
NOT_BUILT = (
    "this kernel is built without the module nf_conntrack (CONFIG_NF_CONNTRACK), so nothing is"
    " tracked; collect without ct"
)
NOT_INSTALLED = (
    "the module nf_conntrack is not installed for this kernel, so nothing is tracked: install the"
    " package with the rest of its modules (Debian: linux-image-…, Ubuntu: linux-modules-extra-…,"
    " Fedora: kernel-modules)"
)
RELEASE = Host().machine.kernel_release


def machine(root: Path, files: dict[str, str]) -> Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Host(root)


@pytest.mark.parametrize(
    "files",
    [
        {"proc/config.gz": "CONFIG_NF_CONNTRACK=y\n"},
        {"proc/modules": "nf_conntrack 200704 4 nf_nat, Live 0x0\n"},
        {f"lib/modules/{RELEASE}/modules.builtin": "kernel/net/netfilter/nf_conntrack.ko\n"},
    ],
)
def test_there(tmp_path: Path, files: dict[str, str]) -> None:
    check_module(machine(tmp_path, files), "ct", MODULE)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"proc/config.gz": "# CONFIG_NF_CONNTRACK is not set\n"}, NOT_BUILT),
        ({f"lib/modules/{RELEASE}/modules.dep": "kernel/net/nsh/nsh.ko:\n"}, NOT_INSTALLED),
        (
            {"proc/modules": "nf_nat 1 0 - Live 0x0\n"},
            "the module nf_conntrack is not loaded, so nothing is tracked: modprobe it",
        ),
    ],
)
def test_not_there(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(MissingPrerequisite) as caught:
        check_module(machine(tmp_path, files), "ct", MODULE)
    assert str(caught.value) == f"collector ct: {message}"


def test_without_types() -> None:
    assert "collector ct: the types of the module m " in str(no_module_types("ct", "m"))
