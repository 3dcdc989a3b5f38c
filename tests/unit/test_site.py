"""The documentation as a site: it is built with --strict, and asks the network for nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        place = page.relative_to(docs).with_suffix("")
        built = site if place.name == "index" else site / place
        assert (built / "index.html").exists(), page.name
    assert (site / "CONTRIBUTING" / "index.html").exists()


def test_nothing_comes_from_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*src=[\"']([^\"']+)", text)
        loaded += re.findall(r"<link[^>]*rel=\"?(?!canonical)[^>]*href=[\"']([^\"']+)", text)
        assert loaded
        assert not [where for where in loaded if re.match(r"(\w+:)?//", where)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(\w+:)?//", style.read_text()), style


def test_code_in_tables_shows_bars(site: Path) -> None:
    assert "[multi-line|single-line]" in (site / "print" / "index.html").read_text()
