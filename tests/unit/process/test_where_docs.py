"""docs/where.md names every field that can be compared, as what it is, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from retis_py.errors import UsageError
from retis_py.expressions import MAX_LENGTH, MAX_TERMS
from retis_py.process.where import compile_where
from retis_py.process.where_fields import Kind, comparable
from retis_py.process.where_grammar import MAX_DEPTH

PAGE = (Path(__file__).parents[3] / "docs" / "where.md").read_text()
KINDS = {
    "list": Kind.STRINGS,
    "tracking id": Kind.TRACKING_ID,
    "flow id": Kind.FLOW_ID,
    "true or false": Kind.BOOLEAN,
}


def part(heading: str) -> str:
    (found,) = [p for p in re.split(r"^##+ ", PAGE, flags=re.M) if p.startswith(heading + "\n")]
    return found


def expanded(text: str) -> Iterator[str]:
    found = re.search(r"\{([^{}]*)\}", text)
    if not found:
        yield text
        return
    for choice in found[1].split(","):
        yield from expanded(text[: found.start()] + choice + text[found.end() :])


def names(section: str, cell: str) -> Iterator[str]:
    for each in re.findall(r"`([^`]*)`", cell):
        yield from (f"{section}.{name}" for name in expanded(each))


def documented() -> Iterator[tuple[str, Kind]]:
    for line in re.findall(r"^\| `.*\|$", part("What can be compared"), re.M):
        first, numbers, strings, others = line[1:-1].split("|")
        section = first.strip(" `")
        yield from ((name, Kind.NUMBER) for name in names(section, numbers))
        yield from ((name, Kind.STRING) for name in names(section, strings))
        for other in filter(str.strip, others.split(";")):
            kind, _, cell = other.partition(":")
            yield from ((name, KINDS[kind.strip()]) for name in names(section, cell))


def test_every_field_and_its_kind() -> None:
    told = list(documented())
    assert len(told) == len(dict(told))
    assert dict(told) == {field.path: field.kind for field in comparable()}


def test_the_grammar_is_that_of_the_parser() -> None:
    source = Path(compile_where.__globals__["__file__"]).with_name("where_grammar.py").read_text()
    in_code = [line.strip() for line in source.splitlines()]
    for rule in re.findall(r"^\w+ +=.*$", part("Grammar"), re.M):
        assert rule in in_code


def test_limits() -> None:
    for limit in (f"{MAX_LENGTH:,} characters", f"{MAX_TERMS} comparisons", f"{MAX_DEPTH} paren"):
        assert limit in PAGE


@pytest.mark.parametrize(
    "line", part("Fields: `--where`").partition("```none\n")[2].partition("```")[0].splitlines()
)
def test_examples(line: str) -> None:
    compile_where(line)


@pytest.mark.parametrize(
    "expression",
    [
        'kernel.symbol ~ "tcp_*"',
        'kernel.symbol ~ "*tcp*"',
        'kernel.symbol in ("ip_rcv", "ip_output")',
        "skb.meta.len not in (1, 2)",
        "nft.policy",
        "nft.policy == false",
        'dev.name != "lo"',
        'not dev.name == "lo"',
        'kernel.stack_trace ~ "__udp4_lib_rcv+*"',
        'ovs.ufid == "00000001-0000-0002-0000-000300000004"',
        "common.task and ct.orig.ip and packet.data",
    ],
)
def test_what_the_text_says(expression: str) -> None:
    compile_where(expression)


@pytest.mark.parametrize("expression", ["dev.nam", 'ct.state == "open"'])
def test_errors_that_are_shown(expression: str) -> None:
    with pytest.raises(UsageError) as caught:
        compile_where(expression)
    assert f"Error: {caught.value}\n" in PAGE
