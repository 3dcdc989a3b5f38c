"""The commands of the documentation: how many are run, and which are not, with the reason.

tests/functional/test_docs.py runs them.
"""

import re
from pathlib import Path

from docs_run import page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Blocks that are not run, by the page and the reason that stands there.
AS_ANOTHER = "as another user, who must be able to read the installation"
NOT_RUN = {
    ("collect.md", "needs a collection that was killed; tests/functional/test_spool.py does that"),
    ("install.md", "installs packages; tests/install does the same in places of its own"),
    ("install.md", "needs an engine for containers"),
    ("performance.md", "twenty minutes on a quiet machine; tests/unit/bench tries its parts"),
    ("privileges.md", f"{AS_ANOTHER}; tests/functional/test_privileges.py does that"),
    ("privileges.md", "changes a setting of the machine"),
    ("tutorial.md", "installs packages; CI itself begins with it"),
}


def blocks(path: Path) -> list[page.Block]:
    return [item for item in page.read(path) if isinstance(item, page.Block)]


def shown(path: Path) -> list[page.Block]:
    """Without what a page runs and does not show."""
    lines = path.read_text().splitlines()
    return [b for b in blocks(path) if not lines[b.line - 1].startswith("<!-- run:")]


def test_there_are_many_and_most_are_compared() -> None:
    steps = [step for path in PAGES for b in shown(path) if not b.not_run for step in b.steps]
    assert len(steps) >= 100
    assert sum("retis" in step.command for step in steps) >= 60
    assert sum(step.shown is not None for step in steps) >= 60


def test_what_is_not_run() -> None:
    left_out = {(path.name, b.not_run) for path in PAGES for b in blocks(path) if b.not_run}
    assert left_out == NOT_RUN


def test_no_command_hides_from_the_tests() -> None:
    """A block of shell is one of the language ``console``, which is run."""
    for path in PAGES:
        text = re.sub(r"^```console\n.*?^```", "", path.read_text(), flags=re.M | re.S)
        for language, inside in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
            assert language in ("none", "python", "yaml", "c", "diff", "ini"), (
                f"{path.name}: {language}"
            )
            assert not re.search(r"^[#$] \w", inside, re.M), f"{path.name}: {inside}"
