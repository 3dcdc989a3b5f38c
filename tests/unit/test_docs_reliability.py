"""docs/reliability.md: each fault has tests that are there, and each test of faults is in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "functional"
MAIN, *OTHERS = (
    "test_faults.py",
    "test_faults_kprobes.py",
    "test_faults_pipes.py",
    "test_faults_resources.py",
)
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = [
    name if "::" in name else f"{MAIN}::{name}"
    for name in re.findall(r"`((?:\w+\.py::)?test_\w+)`", PAGE)
]


def functions_of(file: str) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", (TESTS / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_named_test_is_there(name: str) -> None:
    file, _, test = name.partition("::")
    assert test in functions_of(file)


@pytest.mark.parametrize("file", [MAIN, *OTHERS])
def test_each_test_of_faults_is_named(file: str) -> None:
    assert functions_of(file)
    assert {f"{file}::{test}" for test in functions_of(file)} <= set(NAMED)


def test_each_fault_has_a_test() -> None:
    _, _, table = PAGE.partition("## Faults")
    faults = [line for line in table.partition("## What you")[0].splitlines() if line[:2] == "| "]
    assert len(faults) > 25
    for line in faults[1:]:
        assert len(line.split(" | ")) == 4, line
        assert re.search(r"`(\w+\.py::)?test_\w+` \|$|`test_\w+` \|$", line), line
