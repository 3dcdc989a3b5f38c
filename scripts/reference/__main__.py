"""Writes what the documentation has from the program itself.

``python scripts/reference`` brings up to date: the tables of options in docs/*.md, docs/sections.md
(the sections of events) and the manual pages in docs/man/. With ``--check`` nothing is written;
what is out of date is named, and the exit code is 1 (tests/unit/test_reference.py).
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout's retis_py

import manual
import options
import sections

ROOT = Path(__file__).resolve().parents[2]


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; name what is out of date.")
def main(check: bool) -> None:
    """Bring options, sections and manual pages up to date with the program."""
    out_of_date = {
        path: text
        for path, text in _wanted().items()
        if not path.exists() or path.read_text() != text
    }
    gone = set((ROOT / "docs" / "man").glob("*")) - _wanted().keys()
    for path in sorted(out_of_date.keys() | gone):
        click.echo(path.relative_to(ROOT))
    if check:
        sys.exit(bool(out_of_date or gone))
    for path, text in out_of_date.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for path in gone:
        path.unlink()


def _wanted() -> dict[Path, str]:
    """All files that are made, wholly or in part, as they should be."""
    pages = {path: options.with_tables(path.read_text()) for path in (ROOT / "docs").glob("*.md")}
    manuals = {ROOT / "docs" / "man" / name: text for name, text in manual.pages().items()}
    return pages | manuals | {ROOT / "docs" / "sections.md": sections.page()}


if __name__ == "__main__":
    main()
