"""Machines with kprobes, made up around this kernel's real types."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes.available import Types

MakeHost = Callable[..., Host]


@pytest.fixture(scope="session")
def vmlinux() -> Btf:
    require("btf")
    return Btf.vmlinux()


@pytest.fixture
def types(vmlinux: Btf) -> Types:
    return Types(vmlinux)


@pytest.fixture
def make_host(tmp_path: Path) -> MakeHost:
    """Make a host with kprobes whose kernel has those functions, from 0xffffffff81000000 on."""

    def make(functions: Sequence[str] = (), kprobes: bool = True) -> Host:
        files = {
            "proc/kallsyms": "".join(
                f"{0xFFFFFFFF81000000 + 16 * i:016x} T {name}\n"
                for i, name in enumerate(["_stext", *functions])
            ),
            "proc/config.gz": "CONFIG_KPROBES=y\nCONFIG_KPROBE_EVENTS=y\n"
            if kprobes
            else "# CONFIG_KPROBES is not set\n",
            "sys/bus/event_source/devices/kprobe/type": "8\n",
        }
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return Host(tmp_path)

    return make


@pytest.fixture
def make_tracefs(tmp_path: Path) -> Callable[..., Tracefs]:
    def make(
        tracepoints: Sequence[str] = (), functions: Sequence[str] = (), blacklist: str = ""
    ) -> Tracefs:
        folder = tmp_path / "tracing"
        folder.mkdir()
        (folder / "available_events").write_text("\n".join(tracepoints))
        if functions:
            (folder / "available_filter_functions").write_text("\n".join(functions))
        (tmp_path / "debug/kprobes").mkdir(parents=True)
        (tmp_path / "debug/kprobes/blacklist").write_text(blacklist)
        return Tracefs(folder, tmp_path / "debug")

    return make
