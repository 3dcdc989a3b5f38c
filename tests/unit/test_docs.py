"""The documentation says what the program does: options, names, commands, links."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from retis_py.collect.losses import LossCause
from retis_py.collectors.nft import DEFAULT_NFT_VERDICTS, NFT_VERDICTS
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.collectors.skb import SkbPart
from retis_py.events.event import Event

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def section(page: str, heading: str) -> str:
    """The text under a heading of the second level."""
    parts = re.split(r"^## ", (DOCS / page).read_text(), flags=re.MULTILINE)
    found = [part for part in parts if part.startswith(f"{heading}\n")]
    assert len(found) == 1, f"{page} has {len(found)} headings '{heading}'"
    return found[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of all tables' rows but their headings."""
    for line in text.splitlines():
        if line.startswith("|") and not re.match(r"\|\s*(\w[\w ]*\|[^`]*$|-|\|)", line):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_names_of_values() -> None:
    """What an option takes is what the page says about it."""
    text = section("collect.md", "Options")
    for part in SkbPart:
        assert f"`{part}`" in text
    assert {"all", *NFT_VERDICTS} <= set(re.findall(r"\w+", text))
    assert f"Default: {','.join(DEFAULT_NFT_VERDICTS)}" in text


def first_words(text: str) -> list[str]:
    return [row[0].strip("`") for row in rows(text)]


def test_collectors() -> None:
    names = [collector.name for collector in all_collectors(CollectorOptions())]
    assert first_words(section("collect.md", "Collectors")) == names


def test_what_collectors_feed_on() -> None:
    told = {row[0].strip("`"): row[2] for row in rows(section("collect.md", "Collectors"))}
    for collector in all_collectors(CollectorOptions()):
        if collector.name != "ns":  # "the same" as in the row before, and more
            assert set(re.findall(r"`([^`]+)`", told[collector.name])) == collector.feeds


def test_causes_of_losses() -> None:
    assert first_words(section("collect.md", "Losses")) == [cause.value for cause in LossCause]


def test_sections_of_events() -> None:
    """Every section has its row, and the row names every field."""
    told = {row[0].strip("`"): row[1] for row in rows((DOCS / "events.md").read_text())}
    fields = {field.encode_name: field for field in msgspec.structs.fields(Event)}
    assert set(told) == set(fields)
    for name, field in fields.items():
        if name == "ovs":  # a type for each kind of event
            continue
        (struct,) = (
            t for t in (getattr(field.type, "__args__", ()) or (field.type,)) if is_struct(t)
        )
        for inner in msgspec.structs.fields(struct):
            assert f"`{inner.encode_name}`" in told[name], f"events.md: {name} lacks {inner.name}"


def is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_make_targets_exist(page: Path) -> None:
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w+)", page.read_text())) <= known


def test_readme_names_both_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "`make demo`" in text
    assert "`make test`" in text


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"\w+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{ids(page)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{ids(page)}: {link}"


def anchors(page: Path) -> set[str]:
    """What GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_index_links_all_pages() -> None:
    linked = {(DOCS / link).resolve() for link in links(DOCS / "index.md")}
    assert {page.resolve() for page in DOCS.glob("*.md")} - {DOCS / "index.md"} <= linked


def test_architecture_names_files_that_exist() -> None:
    text = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"\b(?:bpf|tests|retis_py)/[\w/]+\.(?:py|c|h)\b", text))
    inside = set(re.findall(r"`((?:\w+/)+\w+\.py)`", text)) - named
    assert len(named) > 5
    assert len(inside) > 5
    templates = {name for name in named | inside if "NAME" in name}
    missing = [name for name in named - templates if not (ROOT / name).exists()]
    missing += [n for n in inside - templates if not (ROOT / "retis_py" / n).exists()]
    assert not missing
