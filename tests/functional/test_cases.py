"""The worked cases of docs/cases: each page's commands, from top to bottom, print what it shows.

A page names in its first line what it needs of the kernel; all others run on any.
"""

from pathlib import Path

import pytest

from docs_run import page
from docs_run.run import run_page
from lab import capabilities
from vm import openvswitch

CASES = Path(__file__).parents[2] / "docs" / "cases"
PAGES = sorted(path for path in CASES.glob("*.md") if path.name != "index.md")


def needs(path: Path) -> frozenset[str]:
    return frozenset[str]().union(
        *(item.needs for item in page.read(path) if isinstance(item, page.Block))
    )


@pytest.mark.timeout(600)  # emulated CPUs
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_case(path: Path, root: None, btf: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in sorted(needs(path)):
        capabilities.require(name)
    monkeypatch.setenv("RETIS_OVS_CACHE", str(openvswitch.cache_folder()))
    report = run_page(path, lambda name: capabilities.CAPABILITIES[name](), time_limit=120)
    assert not report.problems, "\n\n".join([path.name, *report.problems])
    assert not report.left_out
    assert report.ran


def test_every_case_is_listed() -> None:
    index = (CASES / "index.md").read_text()
    assert [path.name for path in PAGES if f"]({path.name})" not in index] == []
    assert len(PAGES) == 6
