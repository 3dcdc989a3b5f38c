"""What mkdocs has to know of this project (mkdocs.yml, ``hooks``).

README, CONTRIBUTING and CHANGELOG stand beside docs/, where they are looked for, and are pages of
the site too. docs/cases/ is listed as it is.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def on_config(config: Any) -> Any:
    """Put the worked cases into the navigation, before the commands."""
    cases = sorted((ROOT / "docs" / "cases").glob("*.md"))
    if cases:
        config.nav.insert(2, {"Worked cases": [f"cases/{page.name}" for page in cases]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand beside docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make links between docs/ and what stands beside it fit the site."""
    if page.file.src_uri in BESIDE:
        return re.sub(r"\]\(docs/", "](", markdown).replace(
            "](LICENSE)", "](https://www.gnu.org/licenses/gpl-2.0.html)"
        )
    for name in BESIDE:
        markdown = markdown.replace(f"](../{name}", f"]({name}")
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Show ``|`` in code in tables, which Markdown has as ``\\|``: the parser leaves the backslash."""
    return re.sub(r"<code>[^<]*</code>", lambda code: code[0].replace(r"\|", "|"), html)
