"""What mkdocs has to know of this project (mkdocs.yml, ``hooks``).

README, CONTRIBUTING and CHANGELOG stand beside docs/, where they are looked for, and are pages of
the site too. docs/cases/ is listed as it is.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# By the name in the site, where README would be taken for index.
BESIDE = {
    "about.md": "README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
LICENCE = "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html"


def on_config(config: Any) -> Any:
    """Put the worked cases into the navigation, before the commands."""
    cases = sorted((ROOT / "docs" / "cases").glob("*.md"))
    if cases:
        config.nav.insert(4, {"Worked cases": [f"cases/{page.name}" for page in cases]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand beside docs/."""
    for name, source in BESIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make links between docs/ and what stands beside it fit the site, without the tests' marks."""
    # Before the heading such a comment would keep mkdocs from finding the page's title.
    markdown = re.sub(r"^<!-- .* -->\n", "", markdown, flags=re.MULTILINE)
    prefix = "" if page.file.src_uri in BESIDE else "../"
    for name, source in BESIDE.items():
        markdown = markdown.replace(f"]({prefix}{source}", f"]({name}")
    if prefix:
        return markdown
    return re.sub(r"\]\(docs/", "](", markdown).replace("](LICENSE)", f"]({LICENCE})")


def on_page_content(html: str, **_: Any) -> str:
    r"""Show ``|`` in code in tables: the parser leaves the backslash that stands before it."""
    return re.sub(r"<code>[^<]*</code>", lambda code: code[0].replace(r"\|", "|"), html)
