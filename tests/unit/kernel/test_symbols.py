import ctypes
import logging
import os
import struct
from bisect import bisect_right
from pathlib import Path
from types import SimpleNamespace

import pytest

from retis_py.kernel import symbols as symbols_module
from retis_py.kernel.kallsyms import KallSyms
from retis_py.kernel.symbols import SymbolTable

CORE = (
    b"0000000000000000 D __per_cpu_start\n"
    b"0000000000000040 W absolute\n"
    b"ffffffff81000000 T startup_64\n"
    b"ffffffff81000000 T _stext\n"
    b"ffffffff81000100 T ip_rcv\n"
    b"ffffffff81000180 T _text_like\n"
    b"ffffffff81000200 T tcp_v4_rcv\n"
    b"ffffffff81000200 t inner_alias\n"
    b"ffffffff81000200 W weak_alias\n"
    b"ffffffff81000300 T _etext\n"
    b"ffffffff81000400 D some_data\n"
    b"ffffffff81001000 T _sinittext\n"
    b"ffffffff81001000 t init_thing\n"
)
OTHERS = (
    b"ffffffffc0201000 t ovs_dp_upcall\t[openvswitch]\n"
    b"ffffffffc0200000 t nf_nat_setup\t[nf_nat]\n"
    b"ffffffffc0300000 t bpf_prog_6deef7357e7b4530_hook\t[bpf]\n"
    b"ffff800000000000 t below_the_kernel\t[low]\n"
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(symbols_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "kallsyms"
    path.write_bytes(CORE + OTHERS)
    return path


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (0xFFFFFFFF81000100, "ip_rcv+0x0"),
        (0xFFFFFFFF8100017F, "ip_rcv+0x7f"),
        (0xFFFFFFFF81000210, "tcp_v4_rcv+0x10"),
        (0xFFFFFFFF81000000, "startup_64+0x0"),
        (0xFFFFFFFF81001004, "init_thing+0x4"),
        (0xFFFFFFFFC0201010, "ovs_dp_upcall+0x10"),
        (0xFFFFFFFFC0200FFF, "nf_nat_setup+0xfff"),
        (0xFFFFFFFFC0300022, "bpf_prog_6deef7357e7b4530_hook+0x22"),
        (0xFFFF800000000001, "below_the_kernel+0x1"),
        # Beyond every segment.
        (0xFFFFFFFF81000300, "0xffffffff81000300"),
        (0xFFFFFFFF81000480, "0xffffffff81000480"),
        (0xFFFFFFFFC0400000, "0xffffffffc0400000"),
        (0xFFFFFFFFFFFFFFFF, "0xffffffffffffffff"),
        (0xFFFFFFFF80FFFFFF, "0xffffffff80ffffff"),
        (0x41, "0x41"),
        (0, "0x0"),
    ],
)
def test_resolve(path: Path, address: int, text: str) -> None:
    table = SymbolTable(path)
    assert table.resolve(address) == text
    assert table.resolve(address) == text


def test_only_text_is_taken(path: Path) -> None:
    table = SymbolTable(path)
    table.resolve(1)
    assert len(table) == (CORE + OTHERS).count(b"\n") - 3


def test_a_program_loaded_later_is_found_after_a_second(path: Path, clock: Clock) -> None:
    table = SymbolTable(path)
    assert table.resolve(0xFFFFFFFFC0500008) == "0xffffffffc0500008"
    path.write_bytes(CORE + OTHERS + b"ffffffffc0500000 t bpf_prog_1_new\t[bpf]\n")
    clock.now += 0.5
    assert table.resolve(0xFFFFFFFFC0500008) == "0xffffffffc0500008"
    clock.now += 2
    assert table.resolve(0xFFFFFFFFC0500008) == "bpf_prog_1_new+0x8"


def test_a_program_loaded_later_is_not_taken_for_its_neighbour(path: Path, clock: Clock) -> None:
    table = SymbolTable(path)
    assert table.resolve(0xFFFFFFFFC0300004) == "bpf_prog_6deef7357e7b4530_hook+0x4"
    path.write_bytes(CORE + OTHERS + b"ffffffffc0301000 t bpf_prog_1_new\t[bpf]\n")
    clock.now += 2
    assert table.resolve(0xFFFFFFFFC0301010) == "bpf_prog_1_new+0x10"


def test_the_kernels_own_are_not_read_again(path: Path, clock: Clock) -> None:
    table = SymbolTable(path)
    assert table.resolve(0xFFFFFFFF81000104) == "ip_rcv+0x4"
    path.unlink()
    clock.now += 100
    assert table.resolve(0xFFFFFFFF81000110) == "ip_rcv+0x10"
    assert table.resolve(0xFFFF800000000001) == "below_the_kernel+0x1"


def test_absolute_symbols_do_not_disturb_their_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_bytes(
        b"0000000000000040 W absolute\nffffffff81000000 T ip_rcv\n"
        b"ffff800000000000 T below_the_kernel\t[low]\n"
    )
    table = SymbolTable(path)
    assert table.resolve(0xFFFFFFFF81000001) == "ip_rcv+0x1"
    assert table.resolve(0xFFFF800000000001) == "below_the_kernel+0x1"
    assert len(table) == 2


def test_addresses_that_never_resolve_are_not_worth_reading_for(path: Path, clock: Clock) -> None:
    table = SymbolTable(path)
    readings = 0
    load = table._load

    def count() -> None:
        nonlocal readings
        readings += 1
        load()

    table._load = count  # type: ignore[method-assign]
    for _ in range(600):
        clock.now += 0.5
        table.resolve(0x1000_0000)
    assert 2 <= readings <= 12


def test_hidden_addresses_resolve_to_figures_with_one_warning(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kallsyms"
    path.write_bytes(b"0000000000000000 T ip_rcv\n0000000000000000 t x\t[m]\n")
    table = SymbolTable(path)
    with caplog.at_level(logging.WARNING):
        assert table.resolve(0xFFFFFFFF81000100) == "0xffffffff81000100"
        clock.now += 100
        assert table.resolve(0x10) == "0x10"
    assert len(caplog.records) == 1
    assert "kptr_restrict" in caplog.text


def test_no_kallsyms_resolves_to_figures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert SymbolTable(tmp_path / "none").resolve(0xFFFFFFFF81000100) == "0xffffffff81000100"
    assert "No such file" in caplog.text


def test_longer_than_one_chunk_and_without_a_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    lines = [f"{0xFFFFFFFF81000000 + 64 * i:016x} t function_{i}" for i in range(20000)]
    path.write_text("\n".join(lines))
    table = SymbolTable(path)
    for i in (0, 1, 7000, 19998):
        assert table.resolve(0xFFFFFFFF81000000 + 64 * i + 3) == f"function_{i}+0x3"
    assert table.resolve(0xFFFFFFFF81000000 + 64 * 19999) == "function_19999+0x0"


def test_this_kernels_symbols_resolve_to_themselves() -> None:
    if KallSyms().hidden:
        pytest.skip("kallsyms: addresses hidden")
    table = SymbolTable()
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    text = sorted((int(f[0], 16), f[2]) for f in lines if f[1] in "tTwW" and f[2][0] not in "$.")
    starts = [address for address, _ in text]
    known = set(text)
    for address in starts[:: len(text) // 500]:
        name, _, offset = table.resolve(address).partition("+")
        if name.startswith("0x"):  # nothing but an end of a segment
            continue
        assert offset == "0x0"
        assert (address, name) in known
        following = bisect_right(starts, address)
        if following < len(starts) and starts[following] > address + 1:
            assert table.resolve(address + 1) == f"{name}+0x1"


@pytest.mark.skipif(os.geteuid() != 0, reason="BPF: root is needed")
def test_a_bpf_program_loaded_while_the_table_is_in_use(clock: Clock) -> None:
    if Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip() == "0":
        pytest.skip("BPF: the kernel interprets programs, which have no symbols then")
    if KallSyms().hidden:
        pytest.skip("kallsyms: addresses hidden")
    table = SymbolTable()
    table.resolve(0)
    libbpf = ctypes.CDLL("libbpf.so.1")
    # r0 = 0; exit
    code = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
    socket_filter = 1  # BPF_PROG_TYPE_SOCKET_FILTER
    program = libbpf.bpf_prog_load(
        socket_filter, b"retis_unit", b"GPL", code, ctypes.c_size_t(2), None
    )
    assert program >= 0
    try:
        lines = Path("/proc/kallsyms").read_text().splitlines()
        ours = next(line for line in lines if "_retis_unit\t[bpf]" in line)
        address, _, name, _ = ours.split()
        clock.now += 2
        assert table.resolve(int(address, 16) + 4) == f"{name}+0x4"
        assert KallSyms().names("bpf_prog_*_retis_unit") == []
    finally:
        os.close(program)


def test_opened_before_it_could_not_be_read_any_more(path: Path) -> None:
    table = SymbolTable(path)
    descriptors = table.open()
    path.unlink()
    assert table.resolve(0xFFFFFFFF81000110) == "ip_rcv+0x10"
    for descriptor in descriptors:
        os.fstat(descriptor)
    table.close()


def test_opened_and_read_by_several_processes(path: Path) -> None:
    """They share the file's position, and take turns."""
    table = SymbolTable(path)
    path.write_bytes(CORE + b"ffffffffc0200000 t filler\t[module]\n" * 20000 + OTHERS)
    table.open()
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            good = True
            for _ in range(10):
                table._load()
                good = good and table.resolve(0xFFFFFFFFC0201000) == "ovs_dp_upcall+0x0"
            os._exit(0 if good else 1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    table.close()


def test_nothing_to_open(tmp_path: Path) -> None:
    table = SymbolTable(tmp_path / "missing")
    assert table.open() == ()
    assert table.resolve(1 << 40) == "0x10000000000"
