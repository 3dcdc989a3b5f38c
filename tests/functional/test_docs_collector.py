"""docs/new-collector.md: its steps, done in a copy of the checkout, give a collector."""

import shutil
from pathlib import Path

from docs_run import page
from docs_run.run import run_page
from lab import capabilities

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "new-collector.md"


def test_a_collector_of_your_own(tmp_path: Path, root: None, btf: None) -> None:
    copy = tmp_path / "checkout"
    for name in ("bpf", "profiles", "retis_py"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for item in page.read(PAGE):
        if isinstance(item, page.File) and item.name == "lines.diff":
            apply(item.text or "", copy)
        elif isinstance(item, page.File):
            (copy / item.name).write_text(item.text or "")
    report = run_page(PAGE, lambda name: capabilities.CAPABILITIES[name](), checkout=copy)
    assert not report.problems, "\n\n".join(report.problems)
    assert report.ran == 4


def apply(diff: str, folder: Path) -> None:
    """A diff without numbers of lines: what a hunk changes stands once in its file."""
    for part in diff.split("--- ")[1:]:
        name, _, hunks = part.partition("\n")
        path = folder / name
        for hunk in hunks.split("@@\n"):
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            text = path.read_text()
            assert text.count(old) == 1, f"{name}: {old}"
            path.write_text(text.replace(old, new))
