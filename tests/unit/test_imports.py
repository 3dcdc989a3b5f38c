"""Imports go one way, as docs/architecture.md says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "retis_py"

# What each part of the package may import of the others. Its own modules it may always.
ALLOWED = {
    "": {"api", "events"},  # lazily
    "errors": set(),
    "resources": {"errors"},
    "packet": set(),
    "cache_folder": set(),
    "similar": set(),
    "held_signals": set(),
    "expressions": {"errors", "similar"},
    "compiled": set(),
    "private_files": set(),
    "events": {"packet", "private_files", "errors"},
    "api": {"events", "errors"},
    "process": {"events", "packet", "expressions", "compiled", "errors", "held_signals"},
    "kernel": {"errors"},
    "filters": {"kernel", "expressions", "errors"},
    "probes": {"kernel", "errors", "similar"},
    "profiles": {"kernel", "errors", "resources", "cache_folder", "similar"},
    "collectors": {"probes", "filters", "kernel", "events", "errors", "similar"},
    "collect": {"collectors", "probes", "filters", "kernel", "events", "errors", "resources"}
    | {"private_files", "cache_folder", "held_signals"},
}
# These may import whatever they like of the package, and nothing but them may import them.
TOP = {"cli", "__main__"}

# Packages beside the standard library, and who may import them.
THIRD_PARTY = {
    "bcc": {"collect/child.py"},
    "click": {"cli"},
    "pylibpcap": {"process/classic_pcap.py"},
    "yaml": {"profiles"},
    "pyroute2": {"kernel/nft_trace.py"},
    "msgspec": {"events", "process", "collect", "cli", "profiles", "kernel", "probes"}
    | {"collectors"},
}

# Commands that run without root and without bcc installed.
READING = ("main", "pcap", "print", "profile", "python", "schema", "sort")

MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in MODULES}


def name_of(path: Path) -> str:
    """``events/sections/dev.py`` -> ``retis_py.events.sections.dev``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """``retis_py.events.wire`` -> ``events``; the package itself is ''."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere: in functions and under TYPE_CHECKING too."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in NAMES else node.module


NAMES = frozenset(name_of(path) for path in MODULES)


def of_package(path: Path) -> set[str]:
    return {m for m in imports(path) if m.split(".")[0] == PACKAGE}


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT / PACKAGE))


def test_there_is_something_to_check() -> None:
    parts = {part_of(name_of(path)) for path in MODULES} - {""}
    assert {"errors", "events", "packet", "kernel", "probes", "collectors", "collect"} <= parts
    assert parts <= ALLOWED.keys() | TOP, "a new part: say here what it may import"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_direction(path: Path) -> None:
    part = part_of(name_of(path))
    imported = {part_of(module) for module in of_package(path)} - {"", part}
    if part in TOP:
        return
    allowed = ALLOWED[part]
    assert imported <= allowed, f"{part or PACKAGE} may not import {imported - allowed}"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_third_party_packages_stay_where_they_belong(path: Path) -> None:
    where = {str(path.relative_to(ROOT / PACKAGE)), part_of(name_of(path))}
    for package in {module.split(".")[0] for module in imports(path)} & THIRD_PARTY.keys():
        assert where & THIRD_PARTY[package], f"{package} is imported in {path}"


def test_no_cycles() -> None:
    """A module is never imported, however indirectly, by what it imports when it is loaded."""
    graph = {name_of(path): at_load(path) for path in MODULES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done:
            return
        for imported in sorted(graph.get(module, ())):
            visit(imported, (*trail, module))
        done.add(module)

    for module in sorted(graph):
        visit(module, ())


def at_load(path: Path) -> set[str]:
    """The package's modules that importing ``path`` imports: not under TYPE_CHECKING."""
    kept = [n for n in TREES[path].body if isinstance(n, ast.Import | ast.ImportFrom)]
    found = set()
    for node in kept:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & NAMES) or {node.module}
    return {m for m in found if m.split(".")[0] == PACKAGE} - {name_of(path)}


def test_reading_needs_no_bpf() -> None:
    commands = [ROOT / PACKAGE / "cli" / f"{name}.py" for name in READING]
    reached = {name_of(path) for path in commands}
    by_name = {name_of(path): path for path in MODULES}
    waiting = list(reached)
    while waiting:
        for module in at_load(by_name[waiting.pop()]) & by_name.keys():
            if module not in reached:
                reached.add(module)
                waiting.append(module)
    assert "retis_py.events.event" in reached
    assert not {m for m in reached if part_of(m) in {"collect", "collectors", "probes"}}
    assert "retis_py.kernel.libbpf" not in reached
