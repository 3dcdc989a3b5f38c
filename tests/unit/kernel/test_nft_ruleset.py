"""Rulesets as nft lists them."""

import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import netns
from lab.capabilities import require
from retis_py.kernel.nft_ruleset import POLICY, Ruleset, RulesetReader, Table, parse_ruleset

LISTED = """\
# Warning: table ip nat is managed by iptables-nft, do not touch!
table inet filter { # handle 2
\tset banned { # handle 9
\t\ttype ipv4_addr
\t\telements = { 10.0.0.1 }
\t}

\tchain input { # handle 1
\t\tcomment "of all # handle 77"
\t\ttype filter hook input priority filter; policy drop;
\t\ttcp dport 22 accept # handle 4
\t\tip saddr vmap { 10.0.0.1 : drop,
\t\t\t        10.0.0.2 : accept } # handle 5
\t\tcounter comment "x # handle 8" # handle 6
\t}

\tchain ns1/svc-1:80 { # handle 3
\t}
}
table ip nat { # handle 3 progname firewalld
\tflags owner

\tchain POST { # handle 1
\t\toifname "e\x1bth0" masquerade # handle 2
\t}
}
"""


def test_parse() -> None:
    assert parse_ruleset(LISTED.splitlines()) == [
        Table(
            "inet",
            "filter",
            2,
            {
                "input": {
                    POLICY: "type filter hook input priority filter; policy drop;",
                    "4": "tcp dport 22 accept",
                    "5": "ip saddr vmap { 10.0.0.1 : drop, 10.0.0.2 : accept }",
                    "6": 'counter comment "x # handle 8"',
                },
                "ns1/svc-1:80": {},
            },
        ),
        Table("ip", "nat", 3, {"POST": {"2": 'oifname "e\x1bth0" masquerade'}}),
    ]


LINES = st.sampled_from([*LISTED.splitlines(), "\t", "\t\t", "\t}", "}", "", "\t\t\tx # handle 1"])


@given(st.lists(st.one_of(LINES, st.text(max_size=20)), max_size=20))
def test_any_lines_can_be_parsed(lines: list[str]) -> None:
    for table in parse_ruleset(lines):
        for rules in table.chains.values():
            assert all(handle == POLICY or handle.isdecimal() for handle in rules)


def read_in(ns: str, rules: str, code: str) -> str:
    """Load rules in a namespace and run Python there."""
    require("root")
    listed = netns.run(ns, ["nft", "list", "tables"], check=False)
    if listed.returncode:
        pytest.skip(f"no nf_tables: {listed.stderr.strip()}")
    netns.run(ns, ["nft", rules])
    read = "ruleset = nft_ruleset.RulesetReader().finish(60)"
    program = f"from retis_py.kernel import nft_ruleset\n{read}\n{code}"
    path = f"PYTHONPATH={Path(__file__).parents[3]}"
    return netns.run(ns, ["env", path, sys.executable, "-W", "error", "-c", program]).stdout


def test_of_the_kernel() -> None:
    require("root")
    with netns.namespace() as ns:
        rules = "table ip t { chain c { udp dport { 1, 2 } counter drop; ip saddr 10.0.0.0/8; }; }"
        shown = read_in(ns, rules, "print(ruleset)")
        inum = int(netns.run(ns, ["stat", "-Lc", "%i", "/proc/self/ns/net"]).stdout)
        handles = netns.run(ns, ["nft", "-a", "list", "ruleset"]).stdout
    rule = "udp dport { 1, 2 } counter drop"
    expected = Ruleset(inum, [Table("ip", "t", 1, {"c": {"3": rule, "4": "ip saddr 10.0.0.0/8"}})])
    assert shown == f"{expected}\n", handles


def test_too_many_rules() -> None:
    require("root")
    with netns.namespace() as ns:
        rule = 'ip saddr 10.0.0.1 udp dport 53 drop comment "one of very many rules"\n'
        shown = read_in(
            ns,
            f"table ip t {{ chain c {{\n{rule * 300}}}; }}",
            "nft_ruleset.LARGEST = 5000\nruleset = nft_ruleset.RulesetReader().finish(60)\n"
            "print(ruleset.cut, len(ruleset.tables[0].chains['c']))",
        )
    cut, count = shown.split()
    assert cut == "True"
    assert 40 < int(count) < 80


def test_without_nft(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert RulesetReader().finish() is None
    assert "cannot run nft" in caplog.text


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sleep 60", "too many, nft was not ready after"),
        ("echo bad luck >&2; echo more >&2; exit 1", "nft failed: bad luck"),
    ],
)
def test_nft_that_does_not_answer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    script: str,
    message: str,
) -> None:
    nft = tmp_path / "nft"
    nft.write_text(f"#!/bin/sh\n{script.replace('sleep', 'exec sleep')}\n")
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    reader, began = RulesetReader(), time.monotonic()
    assert reader.finish(0.5) is None
    assert time.monotonic() - began < 10
    [record] = caplog.records
    assert message in record.getMessage()
    assert "\n" not in record.getMessage()
