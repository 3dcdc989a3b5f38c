"""``--nft-rules`` of ``print`` and ``sort``: the text under events, and whose rules it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from retis_py.cli.log import LogLevel, set_up_logging
from retis_py.cli.main import cli

CHAINS = {"in": {"policy": "type filter hook input priority 0; policy drop;", "4": "udp dport 7"}}
TABLE = {"family": "inet", "name": "t", "handle": 1, "chains": CHAINS}
RULES = {"tables": [TABLE], "netns": 77}
OTHER = {"tables": [TABLE | {"chains": {"in": {"4": "another"}}}], "netns": 77}
STARTUP = {
    "retis_version": "v1.7.0",
    "cmdline": "retis collect",
    "clock_monotonic_offset": {"sec": 5, "nsec": 7},
    "machine": {"kernel_release": "6.1", "kernel_version": "#1", "hardware_name": "x86_64"},
}
NO_RULES = (
    "no nftables rules are stored in it, so none are shown; 'retis collect' stores them with -o,"
    " the collector nft and the command nft"
)


def event(time: int, handle: int | None, **sections: Any) -> dict[str, Any]:
    nft: dict[str, Any] = {
        "table_name": "t",
        "table_handle": 1,
        "chain_name": "in",
        "chain_handle": 2,
        "verdict": "drop",
        "policy": handle is None,
    }
    if handle is not None:
        nft["rule_handle"] = handle
    ids = {"orig_head": 1, "timestamp": 1, "skb": 3}
    return {"common": {"timestamp": time}, "skb-tracking": ids, **sections, "nft": nft}


EVENTS = [
    event(10, 4),
    event(11, None, netns={"cookie": 1, "inum": 77}),
    event(12, 4, netns={"cookie": 1, "inum": 78}),
    event(13, 5),
]

SERIES = """\
10 #10000000000000001 (skb 3) n 0
  table t (1) chain in (2) handle 4 drop
    rule: udp dport 7
  ↳ 11 #10000000000000001 (skb 3) n 1
      ns 0x1/77
      table t (1) chain in (2) drop (policy)
        rule: type filter hook input priority 0; policy drop;
  ↳ 12 #10000000000000001 (skb 3) n 2
      ns 0x1/78
      table t (1) chain in (2) handle 4 drop
  ↳ 13 #10000000000000001 (skb 3) n 3
      table t (1) chain in (2) handle 5 drop
"""


@pytest.fixture(autouse=True)
def warnings() -> None:
    set_up_logging(LogLevel.WARN)


def written(path: Path, rules: Any, *events: Any, number: int | None = None) -> Path:
    startup = STARTUP | ({} if rules is None else {"nft_rules": rules})
    if number is not None:
        policy = {"kind": "size", "limit": 1000}
        startup = startup | {"split_file": {"id": number, "policy": policy}}
    lines = ({"common": {"timestamp": 1}, "startup": startup}, *events)
    path.write_text("".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(tmp_path / "events", RULES, *EVENTS)


def shown(*arguments: Any) -> tuple[str, str]:
    """What is on the standard output behind the startup event, and on standard error."""
    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.partition("cmdline retis collect\n")[2].lstrip("\n"), result.stderr


def test_print(source: Path) -> None:
    text, _ = shown("print", "--nft-rules", source)
    assert [line for line in text.splitlines() if "rule" in line] == [
        "    rule: udp dport 7",
        "    rule: type filter hook input priority 0; policy drop;",
    ]
    single, _ = shown("print", "--nft-rules", "--format", "single-line", source)
    assert single.splitlines()[0] == (
        "10 #10000000000000001 (skb 3) table t (1) chain in (2) handle 4 drop rule: udp dport 7"
    )
    without, _ = shown("print", source)
    assert without == "".join(
        line for line in text.splitlines(keepends=True) if "rule:" not in line
    )


@pytest.mark.parametrize("option", ["--jobs=2", "--max-buffer=10", "--where=nft"])
def test_sort(source: Path, option: str) -> None:
    text, errors = shown("sort", "--nft-rules", option, source)
    assert (text, errors) == (f"{SERIES}\n", "")


def test_sorted_file_keeps_the_rules(source: Path, tmp_path: Path) -> None:
    for options in ((), ("--print",), ("--max-buffer", "9"), ("--where", "nft")):
        out = tmp_path / "sorted"
        shown("sort", source, "-o", out, *options)
        assert shown("print", "--nft-rules", out) == (f"{SERIES}\n", "")


def test_selection_keeps_the_rules(source: Path, tmp_path: Path) -> None:
    shown("print", source, "--where", "nft.rule_handle == 4", "-o", tmp_path / "some")
    text, _ = shown("sort", "--nft-rules", tmp_path / "some")
    assert text.startswith(SERIES.partition("  ↳")[0])


@pytest.mark.parametrize("command", ["print", "sort"])
@pytest.mark.parametrize("held", [(RULES, OTHER, None), (None, RULES, OTHER)])
def test_pieces_show_the_rules_of_the_first_that_holds_some(
    tmp_path: Path, command: str, held: tuple[Any, ...]
) -> None:
    for number, rules in enumerate(held):
        written(tmp_path / f"e.{number}", rules, event(number + 10, 4), number=number)
    text, errors = shown(command, "--nft-rules", tmp_path / "e..")
    assert "another" not in text
    # A printed piece is shown before the next one is opened.
    late = command == "print" and held[0] is None
    assert text.count("rule: udp dport 7") == 3 - late
    assert (NO_RULES in errors) is late


@pytest.mark.parametrize("command", ["print", "sort"])
def test_no_rules_are_one_warning(tmp_path: Path, command: str) -> None:
    for number in range(3):
        written(tmp_path / f"e.{number}", None, *EVENTS, number=number)
    text, errors = shown(command, "--nft-rules", tmp_path / "e..")
    assert "rule:" not in text
    assert text == shown(command, tmp_path / "e..")[0]
    assert errors.endswith(f" [WARN] {tmp_path}/e.0: {NO_RULES}\n")
    assert errors.count("\n") == 1


def test_part_of_the_rules_is_a_warning(tmp_path: Path) -> None:
    path = written(tmp_path / "events", RULES | {"cut": True}, *EVENTS)
    text, errors = shown("print", "--nft-rules", path)
    assert text.count("rule:") == 2
    assert errors.endswith(f" [WARN] {path} holds only the first of its nftables rules as text\n")
