"""Names of our own programs, as the kernel gives them."""

from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect.compiled import Compiled
from retis_py.collect.loader import Loader, ProgramType
from retis_py.collect.own_symbols import OwnSymbols, symbols_of
from unit.collect.running import compile_text

TEXT = """
#include <linux/types.h>
#include <bcc/helpers.h>
int look(struct bpf_raw_tracepoint_args *ctx) { return bpf_ktime_get_ns() & 1; }
"""


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    require("root")
    return compile_text(TEXT, ["look"])


def test_as_kallsyms_has_them(compiled: Compiled) -> None:
    with Loader(compiled, {}) as loader:
        program = loader.load("look", ProgramType.RAW_TRACEPOINT)
        [(address, size, name)] = symbols_of([program])
        assert f"{address:016x} t {name}\t[bpf]\n" in Path("/proc/kallsyms").read_text()
    resolver = OwnSymbols(hex)
    resolver.add([(address, size, name)])
    assert resolver.resolve(address + 4) == f"{name}+0x4"
    assert resolver.resolve(address + size) == hex(address + size)
    assert resolver.resolve(address - 1) == hex(address - 1)
