from pathlib import Path

import pytest

from retis_py.kernel.modules import Modules


@pytest.fixture
def modules(tmp_path: Path) -> Modules:
    files = {
        "proc/modules": (
            "nf_nat 61440 2 nft_chain_nat,openvswitch, Live 0xffffffffc0a00000\n"
            "openvswitch 217088 0 - Live 0xffffffffc0b00000 (E)\n"
            "going 16384 0 - Unloading 0xffffffffc0c00000\n"
        ),
        "lib/modules/6.1/modules.builtin": (
            "kernel/net/ipv4/udp-tunnel.ko\nkernel/net/core/failover.ko.xz\n"
        ),
        "lib/modules/6.1/modules.dep": (
            "kernel/net/openvswitch/openvswitch.ko.xz: kernel/net/nsh/nsh.ko.xz\n"
            "kernel/net/ipv4/udp-tunnel.ko:\nextra/mine.ko:\n"
        ),
        "sys/module/nf_nat/initstate": "live\n",
        "sys/module/ipv6/parameters/disable": "0\n",
        "sys/kernel/btf/openvswitch": "\x9f",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return Modules("6.1", tmp_path)


def test_loaded(modules: Modules) -> None:
    assert modules.all_loaded() == {"nf_nat", "openvswitch"}
    assert modules.loaded("nf-nat")
    assert not modules.loaded("going")
    assert not modules.loaded("nf")


def test_loaded_is_asked_anew(modules: Modules, tmp_path: Path) -> None:
    assert not modules.loaded("sctp")
    with (tmp_path / "proc/modules").open("a") as file:
        file.write("sctp 450560 4 - Live 0xffffffffc0d00000\n")
    assert modules.loaded("sctp")


def test_built_in(modules: Modules) -> None:
    assert modules.built_in("udp_tunnel")
    assert modules.built_in("udp-tunnel")
    assert modules.built_in("failover")
    assert modules.built_in("ipv6")
    assert not modules.built_in("nf_nat")
    assert not modules.built_in("tunnel")


def test_available(modules: Modules) -> None:
    assert modules.available("ipv6")
    assert modules.available("nf_nat")
    assert not modules.available("sctp")


def test_btf(modules: Modules) -> None:
    assert modules.has_btf("openvswitch")
    assert not modules.has_btf("nf_nat")


def test_a_kernel_without_modules(tmp_path: Path) -> None:
    none = Modules("6.1", tmp_path)
    assert none.all_loaded() == frozenset()
    assert not none.available("openvswitch")


def test_this_kernel() -> None:
    modules = Modules(Path("/proc/sys/kernel/osrelease").read_text().strip())
    listed = Path("/proc/modules")
    count = len(listed.read_text().splitlines()) if listed.exists() else 0
    assert len(modules.all_loaded()) <= count
    assert modules.has_btf("vmlinux") == Path("/sys/kernel/btf/vmlinux").exists()
    assert modules.available("ipv6") == Path("/sys/module/ipv6").exists()


def test_which_have_btf(modules: Modules, tmp_path: Path) -> None:
    assert modules.with_btf() == {"openvswitch"}
    (tmp_path / "sys/kernel/btf/vmlinux").touch()
    assert modules.with_btf() == {"openvswitch"}
    assert Modules("6.1", tmp_path / "nowhere").with_btf() == frozenset()


def test_installed(modules: Modules, tmp_path: Path) -> None:
    assert [modules.installed(n) for n in ("openvswitch", "udp_tunnel", "mine")] == [True] * 3
    assert modules.installed("sctp") is False
    assert modules.installed("open") is False
    assert Modules("6.2", tmp_path).installed("sctp") is None
