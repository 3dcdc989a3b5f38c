"""scripts/reference: what it makes of the program is what is committed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from retis_py import __version__

ROOT = Path(__file__).parents[2]
MANUALS = sorted((ROOT / "docs" / "man").glob("*"))


def test_all_is_up_to_date() -> None:
    """Run ``python scripts/reference`` where this fails."""
    command = [sys.executable, "scripts/reference", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_every_command_has_its_options_in_a_page() -> None:
    """But `retis profile`, which has none of its own."""
    text = "".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
    told = re.findall(r"<!-- options of (retis.*) -->\n\n\| option", text)
    commands = {manual.stem for manual in MANUALS} - {"retis-profile"}
    assert sorted(name.replace(" ", "-") for name in told) == sorted(commands)


def test_nothing_is_retyped() -> None:
    """Tables of options stand where they are made, and nowhere else."""
    for page in (ROOT / "docs").glob("*.md"):
        made = page.read_text().count("<!-- end of options -->")
        assert page.read_text().count("| option | |") == made, page.name


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: path.stem)
def test_manual_pages(manual: Path) -> None:
    text = manual.read_text()
    assert f'"retis\\-py {__version__}"' in text
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"):
        assert f"\n.SH {heading}\n" in text
    groff = ["groff", "-man", "-ww", "-Tutf8", "-rLL=100n", str(manual)]
    made = subprocess.run(groff, capture_output=True, text=True, check=True)
    assert made.stderr == ""
    assert "Show this message and exit." in made.stdout
