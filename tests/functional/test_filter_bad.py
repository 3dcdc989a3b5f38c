"""Filters that cannot be: one line that says what, and where in the expression."""

import pytest

from lab import capabilities, cli
from lab.emulation import fast_machine_only

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("root", "btf")]

PROBE = ("-p", "tp:net:netif_rx")


def refused(*arguments: str, exit_code: int = 2) -> str:
    """Return what stands behind ``Error: ``, the only line but for information."""
    result = cli.retis("collect", *arguments, "--cmd", "true")
    assert "Traceback" not in result.stderr, result.stderr
    assert "bug in retis" not in result.stderr, result.stderr
    lines = [line for line in result.stderr.splitlines() if "[INFO]" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert lines[0].isprintable()
    assert result.exit_code == exit_code
    return lines[0].removeprefix("Error: ")


@fast_machine_only
@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("tcp prot 80", "syntax error"),
        ("tcp port", "syntax error"),
        ("(icmp", "syntax error"),
        ("host 300.1.1.1", "300.1.1.1"),
        ("port 99999", "99999"),
        ("icmp\x1b[31m", ""),
        ("\udcff", ""),
        ("icmp\nand tcp prot 80", "syntax error"),
    ],
)
def test_packet_filter_syntax(expression: str, reason: str) -> None:
    message = refused(*PROBE, "-f", expression)
    assert "--filter-packet" in message
    assert reason in message


@fast_machine_only
def test_packet_filter_that_is_too_long() -> None:
    terms = " and ".join(f"(ether[{n}] ^ ether[{n + 1}]) = 3" for n in range(800))
    message = refused(*PROBE, "-f", terms)
    assert "4,096" in message
    assert "--filter-packet" in message


@fast_machine_only
def test_packet_filter_that_would_loop() -> None:
    assert "--filter-packet" in refused(*PROBE, "-f", "ip protochain 6")


@fast_machine_only
@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", ""),
        ("sk_buff.", "column 9"),
        ("sk_buff.len >", "column 14"),
        ("sk_buff.len = 3", "column 13"),
        ("sk_buff.len == 3 &", "column 18"),
        ("(sk_buff.len == 3", "')'"),
        ("skb.len == 3", "sk_buff"),
        ("sk_buff.len == 0xzz", "0xzz"),
        ("sk_buff.dev.name == eth0", "quotes"),
        ("sk_buff.dev.name == 'eth0", "not closed"),
        ("sk_buff.dev.name < 'eth0'", "=="),
        ("sk_buff.dev.name >= 'eth0'", "=="),
        ("sk_buff.len == 'long'", "expected a number"),
        ("sk_buff.dev == 'eth0'", ""),
        ("sk_buff.len.more == 1", "len"),
        ("sk_buff._nfct:0:nf_conn.mark", "mask"),
        ("sk_buff.len \x1b[31m== 3", ""),
        ("sk_buff.len == 99999999999999999999999", ""),
    ],
)
def test_metadata_filter(expression: str, reason: str) -> None:
    message = refused(*PROBE, "-m", expression)
    assert "--filter-meta" in message
    assert reason in message


@fast_machine_only
def test_metadata_filter_that_is_too_long() -> None:
    message = refused(*PROBE, "-m", " || ".join(f"sk_buff.len == {n}" for n in range(2000)))
    assert "--filter-meta" in message


def test_member_that_this_kernel_has_not() -> None:
    """The nearest names are said."""
    message = refused(*PROBE, "-m", "sk_buff.dev.nmae == 'eth0'")
    assert "'nmae'" in message
    assert "name" in message.replace("nmae", "")


@fast_machine_only
def test_cast_to_a_struct_that_this_kernel_has_not() -> None:
    message = refused(*PROBE, "-m", "sk_buff._nfct:~0x7:no_such_struct.mark == 1")
    assert "no_such_struct" in message


@fast_machine_only
def test_probe_stack_without_a_filter() -> None:
    message = refused("--probe-stack")
    assert "--probe-stack needs a filter" in message


@fast_machine_only
def test_probe_stack_without_kprobes() -> None:
    if capabilities.CAPABILITIES["kprobes"]() is None:
        pytest.skip("the kernel has kprobes")
    message = refused("--probe-stack", "-f", "icmp", exit_code=1)
    assert "CONFIG_KPROBES" in message


@fast_machine_only
@pytest.mark.parametrize("probe", ["tp:net:netif_rx/stack-context", "kr:ip_rcv/stack-context"])
def test_stack_context_elsewhere_than_at_entries(probe: str) -> None:
    message = refused("-f", "icmp", "-p", probe)
    assert "/stack-context is for functions' entries" in message
