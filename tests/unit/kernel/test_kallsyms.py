import re
from collections import defaultdict
from pathlib import Path

import pytest

from retis_py.errors import MissingPrerequisite
from retis_py.kernel.kallsyms import KallSyms

SMALL = (
    b"0000000000000000 A fixed_percpu_data\n"
    b"ffffffff81000000 T _stext\n"
    b"ffffffff81000100 t init_once\n"
    b"ffffffff81000200 t __pfx_tcp_v4_rcv\n"
    b"ffffffff81000210 T tcp_v4_rcv\n"
    b"ffffffff81000300 t init_once\n"
    b"ffffffff81000400 W arch_thing\n"
    b"ffffffff81000500 t tcp_cleanup.isra.0\n"
    b"ffffffff81000600 T __traceiter_kfree_skb\n"
    b"ffffffff82000000 D tcp_prot\n"
    b"ffffffff82000100 d __tracepoint_kfree_skb\n"
    b"ffffffff82000140 D __tracepoint_netif_rx\n"
    b"ffffffff82000180 r __tracepoint_ptr_netif_rx\n"
    b"ffffffffc0201000 t ovs_dp_upcall\t[openvswitch]\n"
    b"ffffffffc0201100 t init_once\t[openvswitch]\n"
    b"ffffffffc0201200 T init_shared\t[openvswitch]\n"
    b"ffffffffc0201300 t init_shared\t[nf_nat]\n"
    b"ffffffffc0300000 t bpf_prog_6deef7357e7b4530_tcp_x\t[bpf]\n"
)


@pytest.fixture
def small(tmp_path: Path) -> KallSyms:
    path = tmp_path / "kallsyms"
    path.write_bytes(SMALL)
    return KallSyms(path)


def test_address_of_a_unique_symbol(small: KallSyms) -> None:
    assert small.address("tcp_v4_rcv") == 0xFFFFFFFF81000210
    assert small.address("ovs_dp_upcall") == 0xFFFFFFFFC0201000
    assert small.address("arch_thing") == 0xFFFFFFFF81000400


@pytest.mark.parametrize("name", ["tcp_v4", "v4_rcv", "tcp_prot", "no_such", "", "tcp.v4_rcv", "*"])
def test_neither_parts_of_names_nor_data_nor_patterns_are_symbols(
    small: KallSyms, name: str
) -> None:
    assert small.address(name) is None
    assert small.count(name) == 0
    assert small.addresses([name]) == {}


def test_duplicates_are_counted_and_the_kernels_own_goes_first(small: KallSyms) -> None:
    assert small.count("init_once") == 3
    assert small.address("init_once") == 0xFFFFFFFF81000100
    assert small.address("init_once", "openvswitch") == 0xFFFFFFFFC0201100
    assert small.address("init_once", "nf_nat") is None
    assert small.module_of("init_once") is None


def test_a_global_symbol_goes_before_a_static_one(small: KallSyms) -> None:
    assert small.address("init_shared") == 0xFFFFFFFFC0201200
    assert small.address("init_shared", "nf_nat") == 0xFFFFFFFFC0201300


def test_module_of(small: KallSyms) -> None:
    assert small.module_of("ovs_dp_upcall") == "openvswitch"
    assert small.module_of("tcp_v4_rcv") is None
    assert small.module_of("no_such") is None


def test_many_addresses_equal_single_ones(small: KallSyms) -> None:
    names = [*re.findall(r"[A-Za-z] (\S+)", SMALL.decode()), "no_such"]
    singly = {name: small.address(name) for name in names}
    assert small.addresses(names) == {n: a for n, a in singly.items() if a is not None}
    assert small.addresses(names[3:5]) == {n: singly[n] for n in names[3:5]}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("tcp_*", ["tcp_cleanup.isra.0", "tcp_v4_rcv"]),
        ("*_rcv", ["tcp_v4_rcv"]),
        ("init_once", ["init_once"]),
        ("ovs_d?_upcal[kl]", ["ovs_dp_upcall"]),
        ("ovs_d?_upcal[!l]", []),
        ("init_[!s]*", ["init_once"]),
        ("tcp_v4_rcv[", []),
        ("tcp.v4_rcv", []),
        ("*bpf_prog*", []),
        ("bpf_*", []),
        ("", []),
    ],
)
def test_names_by_glob(small: KallSyms, pattern: str, names: list[str]) -> None:
    assert small.names(pattern) == names


def test_all_names_are_functions_and_sorted(small: KallSyms) -> None:
    names = small.names("*")
    assert names == sorted(set(names))
    assert "arch_thing" in names
    assert not {"tcp_prot", "fixed_percpu_data", "__pfx_tcp_v4_rcv"} & set(names)


def test_tracepoints_from_data_and_from_iterators(small: KallSyms) -> None:
    assert small.tracepoints() == {"kfree_skb", "netif_rx"}


def test_hidden_addresses_are_an_error_only_where_needed(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_bytes(re.sub(rb"(?m)^[0-9a-f]{16}", b"0" * 16, SMALL))
    hidden = KallSyms(path)
    assert hidden.hidden
    assert hidden.count("init_once") == 3
    assert hidden.names("tcp_v4*") == ["tcp_v4_rcv"]
    with pytest.raises(MissingPrerequisite, match="kptr_restrict") as error:
        hidden.address("tcp_v4_rcv")
    assert "\n" not in str(error.value)
    with pytest.raises(MissingPrerequisite, match="kptr_restrict"):
        hidden.addresses(["tcp_v4_rcv"])


@pytest.mark.parametrize("content", [None, b"", b"nonsense\n"])
def test_no_symbols_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "kallsyms"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MissingPrerequisite, match="CONFIG_KALLSYMS") as error:
        KallSyms(path).count("tcp_v4_rcv")
    assert "\n" not in str(error.value)


def test_forget_reads_again(small: KallSyms, tmp_path: Path) -> None:
    assert small.address("later") is None
    (tmp_path / "kallsyms").write_bytes(SMALL + b"ffffffffc0400000 t later\t[late]\n")
    assert small.address("later") is None
    small.forget()
    assert small.address("later") == 0xFFFFFFFFC0400000


def test_this_kernel_by_name_and_line_by_line() -> None:
    symbols = KallSyms()
    same: dict[str, list[list[str]]] = defaultdict(list)
    for line in Path("/proc/kallsyms").read_text().splitlines():
        fields = line.split()
        if fields[1] in "tTwW":
            same[fields[2]].append(fields)
    sample = list(same)[:: len(same) // 12]
    for name in sample:
        assert symbols.count(name) == len(same[name])
        if len(same[name]) == 1:
            module = same[name][0][3:]
            assert symbols.module_of(name) == (module[0][1:-1] if module else None)
    if symbols.hidden:
        pytest.skip("kallsyms: addresses hidden")
    many = symbols.addresses(sample)
    for name in sample:
        assert many[name] == symbols.address(name)
        assert many[name] in {int(fields[0], 16) for fields in same[name]}


def test_this_kernels_tracepoints() -> None:
    assert {"kfree_skb", "netif_receive_skb", "net_dev_start_xmit"} <= KallSyms().tracepoints()


def test_addresses_that_are_shown_late_in_the_file(tmp_path: Path) -> None:
    """Whether they are hidden the first lines say, and where these do not, the others."""
    path = tmp_path / "kallsyms"
    zeroes = b"".join(b"0000000000000000 A percpu_%d\n" % n for n in range(3000))
    path.write_bytes(zeroes + SMALL)
    assert not KallSyms(path).hidden
    read = KallSyms(path)
    assert read.count("tcp_v4_rcv") == 1
    assert not read.hidden
    path.write_bytes(zeroes + b"0000000000000000 T _stext\n")
    assert KallSyms(path).hidden
    with pytest.raises(MissingPrerequisite, match="cannot read the kernel's symbols"):
        _ = KallSyms(tmp_path / "none").hidden
