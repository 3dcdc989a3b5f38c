"""The command line of ``retis collect``: what is understood and what is refused."""

import mmap
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lab import capabilities
from lab import cli as lab_cli
from retis_py.cli.collect import collect_command
from retis_py.cli.globals import GlobalOptions
from retis_py.cli.main import cli
from retis_py.cli.sizes import FileSize, Size
from retis_py.collect.rings import choose_rings
from retis_py.errors import UsageError

MB = 1 << 20


def parse(*arguments: str) -> dict[str, Any]:
    context = collect_command.make_context("collect", [*arguments], obj=GlobalOptions())
    return context.params


def refused(*arguments: str) -> str:
    with pytest.raises(click.UsageError) as caught:
        parse(*arguments)
    return caught.value.format_message()


def test_defaults() -> None:
    params = parse()
    assert params["collectors"] == params["probes"] == params["skb_sections"] == ()
    assert params["out"] is params["cmd"] is params["stop_after"] is params["ready_file"] is None
    assert params["snaplen"] == 255
    assert params["buffer_size"] == 16 * MB
    assert not any(params[flag] for flag in ("stack", "print_too", "print_bpf", "perf_buffer"))
    assert not params["allow_system_changes"]


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["-c", "skb,dev", "--collectors", "ns"], "collectors", ("skb", "dev", "ns")),
        (["-c", " skb , ,dev,"], "collectors", ("skb", "dev")),
        (["--collectors=auto"], "collectors", ("auto",)),
        (["-p", "ip_rcv", "--probe", "tp:skb:*/stack"], "probes", ("ip_rcv", "tp:skb:*/stack")),
        (["--skb-sections", "eth,meta"], "skb_sections", ("eth", "meta")),
        (["--snaplen", "1024"], "snaplen", 1024),
        (["-o"], "out", Path("retis.data")),
        (["-o", "x.data"], "out", Path("x.data")),
        (["--out=x.data"], "out", Path("x.data")),
        (["-o", "--print"], "out", Path("retis.data")),
        (["-o", "--print"], "print_too", True),
        (["-o", "--out-rotate", "64MB"], "out_rotate", 64_000_000),
        (["--stop-after", "3"], "stop_after", 3),
        (["--ovs-enrich-flows"], "ovs_enrich_flows", True),
        ([], "ovs_enrich_rate", 20),
        (["--ovs-enrich-flows", "--ovs-enrich-rate", "5"], "ovs_enrich_rate", 5),
        (["--cmd", "ping -c1 ::1; true"], "cmd", "ping -c1 ::1; true"),
        (["--ready-file", "/run/ready"], "ready_file", Path("/run/ready")),
        (["--buffer-size", "512k"], "buffer_size", 512 << 10),
        (["--perf-buffer"], "perf_buffer", True),
    ],
)
def test_options(arguments: list[str], name: str, value: object) -> None:
    assert parse(*arguments)[name] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--snaplen", "13"], "14<=x<=1024"),
        (["--snaplen", "1025"], "14<=x<=1024"),
        (["--stop-after", "0"], "x>=1"),
        (["--ovs-enrich-rate", "0"], "x>=1"),
        (["--stop-after", "few"], "not a valid integer"),
        (["-o", "--out-rotate", "64"], "'64' is no size from 4kB to 1024TiB with its unit, as in"),
        (["--buffer-size", "much"], "'much' is no size from 1 byte to 2GB, as in 16MB"),
        (["--no-such"], "--no-such"),
        (["ip_rcv"], "ip_rcv"),
    ],
)
def test_refused(arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4096B", 4096),
        ("1k", 1024),
        ("64 KiB", 64 << 10),
        ("16MB", 16 * MB),
        ("16mib", 16 * MB),
        (" 3M ", 3 * MB),
        ("2G", 2048 * MB),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4000B", 4000),
        ("4kB", 4000),
        ("4 KB", 4000),
        ("4k", 4096),
        ("4KiB", 4096),
        ("64MB", 64_000_000),
        ("64mib", 64 * MB),
        ("64M", 64 * MB),
        ("2GB", 2_000_000_000),
        ("1T", 1 << 40),
        ("1024TiB", 1 << 50),
    ],
)
def test_sizes_of_files(text: str, size: int) -> None:
    """As split(1) and dd(1) have them."""
    assert FileSize().convert(text, None, None) == size


@pytest.mark.parametrize(
    "text",
    ["", "MB", "0MB", "64", "3999B", "1kB", "1025TiB", "1.5GB", "-4kB", "4 k B", "4Kb4", "4EB"],
)
def test_no_sizes_of_files(text: str) -> None:
    with pytest.raises(click.UsageError, match="is no size from 4kB to 1024TiB with its unit"):
        FileSize().convert(text, None, None)


def test_rotation_is_of_files() -> None:
    result = CliRunner().invoke(cli, ["collect", "--out-rotate", "64MB"])
    assert isinstance(result.exception, UsageError)
    assert "give -o too" in str(result.exception)


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "+1", "1.5M", "MB", "16 M B", "16X", "16iB", "2147483649", "3G", "1e6", "٣",
     "0x10", "1\n1", "1_000", "9" * 5000],
)  # fmt: skip
def test_no_sizes(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size from 1 byte to 2GB"):
        Size().convert(text, None, None)


@given(st.text(max_size=12))
def test_any_size(text: str) -> None:
    try:
        size = Size().convert(text, None, None)
    except click.BadParameter:
        return
    assert 0 < size <= 1 << 31


@given(st.integers(1, 1 << 31), st.integers(1, 500))
def test_rings_are_no_more_than_was_asked_for(asked: int, cpus: int) -> None:
    """Powers of two of whole pages, of one size (kernel/bpf/ringbuf.c), no more than CPUs."""
    rings = choose_rings(asked, cpus)
    assert rings.total <= asked or rings == (1, mmap.PAGESIZE)
    assert rings.total > asked // 2
    assert rings.number.bit_count() == rings.size.bit_count() == 1
    assert rings.size % mmap.PAGESIZE == 0
    assert rings.number <= min(8, cpus)
    assert rings.number == 1 or rings.size >= 1 << 20


@pytest.mark.parametrize(
    ("asked", "cpus", "number", "size"),
    [
        (16 << 20, 1, 1, 16 << 20),
        (16 << 20, 2, 2, 8 << 20),
        (16 << 20, 3, 2, 8 << 20),
        (16 << 20, 100, 8, 2 << 20),
        (24 << 20, 4, 4, 4 << 20),
        (4 << 20, 8, 4, 1 << 20),
        (4096, 8, 1, 4096),
        (1, 1, 1, 4096),
    ],
)
def test_rings(asked: int, cpus: int, number: int, size: int) -> None:
    assert choose_rings(asked, cpus) == (number, size)


def test_help_names_every_option_but_the_hidden() -> None:
    text = CliRunner().invoke(cli, ["collect", "--help"]).output
    for param in collect_command.params:
        assert isinstance(param, click.Option)
        longest = max(param.opts, key=len)
        assert (longest in text) is not param.hidden
        assert param.hidden or param.help


def test_enriching_without_the_collector() -> None:
    capabilities.require("btf")
    arguments = ("-c", "skb", "-p", "tp:skb:kfree_skb", "--ovs-enrich-flows", "--print-bpf")
    result = lab_cli.retis("collect", *arguments)
    assert result.exit_code == 0
    assert "[WARN] --ovs-enrich-flows finds no flows: the collector ovs is not" in result.stderr
