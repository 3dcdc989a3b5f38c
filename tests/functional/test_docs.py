"""Every command of the documentation is run, and prints what the page shows.

In a guest (tests/vm) that is which needs its kernel, and what of the page it stands on: retis takes
ten times as long there.
"""

import os
from pathlib import Path

import pytest

from docs_run import page
from docs_run.run import run_page
from lab import capabilities

ROOT = Path(__file__).parents[2]
# Have tests of their own: worked cases, and a collector made in a copy of the checkout.
CASES, COLLECTOR = ROOT / "docs" / "cases", ROOT / "docs" / "new-collector.md"
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if CASES not in path.parents
    and path != COLLECTOR
    and any(isinstance(item, page.Block) for item in page.read(path))
]
IN_GUEST = "RETIS_COMPILE_FOLDER" in os.environ


def needs(path: Path) -> set[str]:
    blocks = (item for item in page.read(path) if isinstance(item, page.Block))
    return {name for block in blocks for name in block.needs | block.shown_with}


def wanted(block: page.Block) -> bool:
    other = not (block.needs or block.shown_with)
    return not (IN_GUEST and other and any("retis" in step.command for step in block.steps))


@pytest.mark.parametrize(
    "path", [path for path in PAGES if needs(path) or not IN_GUEST], ids=lambda path: path.stem
)
def test_page(path: Path, root: None, btf: None) -> None:
    report = run_page(path, lambda name: capabilities.CAPABILITIES[name](), wanted=wanted)
    assert not report.problems, "\n\n".join([str(path.relative_to(ROOT)), *report.problems])
    for name in needs(path) & capabilities.must_not_skip():
        assert capabilities.CAPABILITIES[name]() is None, f"{name} is missing, left out: {report}"
