"""What is found, what is not, and what becomes of entries that are not what was written."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.capabilities import require
from retis_py.cache_folder import CacheFolder, digest
from retis_py.collect import compile_cache
from retis_py.collect.compile_cache import CompileCache, Machine, MadeBy
from retis_py.collect.compiled import Compiled, MapDefinition, Request
from retis_py.collect.compiler import Compiler
from retis_py.errors import MissingPrerequisite

MACHINE = Machine(("Linux", "6.1.0", "#1 SMP", "x86_64"), b"build id", b"0-3", ())
REQUEST = Request("int first(void *ctx) { return 0; }", ("first", "second"), ("-g0",))
LOAD_MAP = bytes([0x18, 0x11, 0, 0, 1, 0, 0, 0]) + bytes(8)
EXIT = bytes([0x95]) + bytes(7)
COMPILED = Compiled(
    {"first": EXIT, "second": LOAD_MAP + EXIT},
    [MapDefinition("counts", 1, 4, 8, 100, 0), MapDefinition("slots", 6, 4, 8, 3, 0)],
)
HEADER = 19 + 32  # the magic, a digest


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "retis-py" / "programs"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A file that has a part in compiling."""
    path = tmp_path / "libbcc.so.0"
    path.write_bytes(b"machine code")
    return path


def made_by(path: Path) -> MadeBy:
    status = path.stat()
    return MadeBy(os.fsencode(path), status.st_size, status.st_mtime_ns)


@pytest.fixture
def cache(programs: Path) -> Iterator[CompileCache]:
    with CacheFolder("programs") as folder:
        yield CompileCache(folder, MACHINE)


@pytest.fixture
def entry(cache: CompileCache, programs: Path, library: Path) -> Path:
    """The file of what REQUEST was compiled to."""
    cache.keep(REQUEST, COMPILED, [made_by(library)])
    [path] = programs.iterdir()
    return path


@pytest.mark.usefixtures("entry")
def test_found_as_it_was(cache: CompileCache) -> None:
    assert not cache.is_empty
    assert cache.find(REQUEST) == COMPILED


@pytest.mark.usefixtures("programs")
def test_nothing_there(cache: CompileCache) -> None:
    assert cache.is_empty
    assert cache.find(REQUEST) is None


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize(
    "other",
    [
        REQUEST._replace(text=REQUEST.text + " "),
        REQUEST._replace(functions=("first",)),
        REQUEST._replace(functions=("second", "first")),
        REQUEST._replace(cflags=()),
        REQUEST._replace(cflags=("-g0", "-Wno-macro-redefined")),
        REQUEST._replace(functions=("first", "second", "-g0"), cflags=()),
    ],
)
def test_other_requests(cache: CompileCache, other: Request) -> None:
    assert cache.find(other) is None
    assert cache.find(REQUEST) == COMPILED


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize(
    "other",
    [
        MACHINE._replace(uname=("Linux", "6.1.0", "#2 SMP", "x86_64")),
        MACHINE._replace(notes=b"another build id"),
        MACHINE._replace(cpus=b"0-7"),
        MACHINE._replace(environment=(("BCC_PROBEREAD", "1"),)),
    ],
)
def test_other_machines(other: Machine) -> None:
    with CacheFolder("programs") as folder:
        cache = CompileCache(folder, other)
        assert cache.is_empty
        assert cache.find(REQUEST) is None


@pytest.mark.usefixtures("entry")
def test_another_version_of_retis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another child, another header tree: each alone makes programs of their own."""
    child = tmp_path / "child.py"
    child.write_text(compile_cache._CHILD.read_text() + "\n")
    files = compile_cache.header_files()
    for name, value in (("_CHILD", child), ("header_files", lambda: files | {"new.h": ""})):
        with monkeypatch.context() as patch, CacheFolder("programs") as folder:
            patch.setattr(compile_cache, name, value)
            assert CompileCache(folder, MACHINE).find(REQUEST) is None
    with CacheFolder("programs") as folder:
        assert CompileCache(folder, MACHINE).find(REQUEST) == COMPILED


def upgrade(library: Path) -> None:
    library.write_bytes(b"other machine code")


def rebuild(library: Path) -> None:
    os.utime(library, ns=(0, library.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [upgrade, rebuild, Path.unlink])
def test_another_compiler(cache: CompileCache, entry: Path, library: Path, change: Any) -> None:
    change(library)
    assert cache.find(REQUEST) is None
    assert not entry.exists()


def test_this_machine() -> None:
    machine = Machine.running()
    assert machine.uname[1:] == tuple(os.uname())[2:]
    assert machine.cpus == Path("/sys/devices/system/cpu/possible").read_bytes()
    assert machine == Machine.running()


def test_variables_that_bcc_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Machine.running()
    monkeypatch.setenv("RETIS_OTHER", "1")
    assert Machine.running() == before
    monkeypatch.setenv("BCC_LINUX_VERSION_CODE", "\udcff")
    assert Machine.running() != before


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes(cache: CompileCache, programs: Path, library: Path, data: Any) -> None:
    """Whatever byte is another, missing or too many: not used, removed, and written anew."""
    cache.keep(REQUEST, COMPILED, [made_by(library)])
    [path] = programs.iterdir()
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    until = data.draw(st.integers(at, min(at + 9, len(whole))))
    damaged = whole[:at] + data.draw(st.binary(max_size=9)) + whole[until:]
    path.write_bytes(damaged)
    assert cache.find(REQUEST) == (COMPILED if damaged == whole else None)
    assert path.exists() == (damaged == whole)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_before_the_digest_was_made(
    cache: CompileCache, programs: Path, library: Path, data: Any
) -> None:
    """The digest is right and the content any: refused, or of the types that loading expects."""
    cache.keep(REQUEST, COMPILED, [made_by(library)])
    [path] = programs.iterdir()
    whole = path.read_bytes()
    at = data.draw(st.integers(HEADER, len(whole)))
    until = data.draw(st.integers(at, min(at + 9, len(whole))))
    content = whole[HEADER:at] + data.draw(st.binary(max_size=9)) + whole[until:]
    path.write_bytes(whole[:19] + digest(content) + content)
    found = cache.find(REQUEST)
    assert path.exists() == (found is not None)
    if found is not None:
        assert tuple(found.functions) == REQUEST.functions
        for code in found.functions.values():
            assert len(code) % 8 == 0
            used = [code[at + 4] for at in range(0, len(code), 8) if code[at] == 0x18]
            assert all(index < len(found.maps) for index in used)
        assert all(isinstance(m, MapDefinition) for m in found.maps)


def with_content(**changes: Any) -> dict[str, Any]:
    functions = {"first": EXIT, "second": EXIT}
    return {"made_by": [(b"/dev/null", 0, 0)], "functions": functions, "maps": [], **changes}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (with_content(functions={"first": EXIT}), "another program's"),
        (with_content(functions={"first": EXIT, "second": EXIT[:7]}), "no sense"),
        (with_content(functions={"first": EXIT, "second": b""}), "no sense"),
        (with_content(functions={"first": EXIT, "second": LOAD_MAP}), "no sense"),
        (with_content(functions={"first": EXIT, "second": EXIT + LOAD_MAP[:8]}), "no sense"),
        (with_content(functions={"first": EXIT, "second": 5}), "damaged"),
        (with_content(made_by=[]), "damaged"),
        (with_content(made_by=[(b"a\0b", 0, 0)]), "has changed"),
        (with_content(name="other"), "another program's"),
        (with_content(more=1), "damaged"),
        (with_content(maps=[{**msgspec.to_builtins(COMPILED.maps[0]), "type": -1}]), "damaged"),
        (with_content(maps=[{**msgspec.to_builtins(COMPILED.maps[0]), "flags": 1 << 32}]), "damag"),
        ([[[[]]]], "damaged"),
        (None, "damaged"),
    ],
)
def test_contents_that_make_no_sense(
    cache: CompileCache, entry: Path, content: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    if isinstance(content, dict):
        content = {"name": entry.name, **content}
    packed = msgspec.msgpack.encode(content)
    entry.write_bytes(entry.read_bytes()[:19] + digest(packed) + packed)
    with caplog.at_level(logging.DEBUG, "retis_py"):
        assert cache.find(REQUEST) is None
    assert why in caplog.text
    assert not entry.exists()


def test_deep_nesting(cache: CompileCache, entry: Path) -> None:
    packed = b"\x91" * 1_000_000
    entry.write_bytes(entry.read_bytes()[:19] + digest(packed) + packed)
    assert cache.find(REQUEST) is None


def test_an_entry_under_another_name(cache: CompileCache, entry: Path) -> None:
    other = REQUEST._replace(text="other")
    entry.rename(entry.with_name(cache._name(other)))
    assert cache.find(other) is None


@pytest.mark.usefixtures("programs")
def test_no_more_than_so_many(
    cache: CompileCache, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_cache, "MAX_ENTRIES", 3)
    requests = [REQUEST._replace(text=str(n)) for n in range(5)]
    for request in requests:
        cache.keep(request, COMPILED, [made_by(library)])
    assert [cache.find(r) is not None for r in requests] == [False, False, True, True, True]


def test_too_large_to_keep(cache: CompileCache, programs: Path, library: Path) -> None:
    large = Compiled({"first": bytes(compile_cache.MAX_ENTRY), "second": EXIT}, [])
    cache.keep(REQUEST, large, [made_by(library)])
    assert not list(programs.iterdir())


def test_a_compiler_that_does_not_say_what_it_is(cache: CompileCache, programs: Path) -> None:
    cache.keep(REQUEST, COMPILED, [])
    assert not list(programs.iterdir())


@pytest.mark.usefixtures("programs")
def test_many_writers(library: Path) -> None:
    """All of an entry is read or nothing, whoever is writing it."""

    def work(_: int) -> set[bool]:
        with CacheFolder("programs") as folder:
            cache = CompileCache(folder, MACHINE)
            seen = set()
            for _ in range(30):
                cache.keep(REQUEST, COMPILED, [made_by(library)])
                seen.add(cache.find(REQUEST) == COMPILED)
            return seen

    with ThreadPoolExecutor(4) as pool:
        assert set().union(*pool.map(work, range(4))) == {True}
    with CacheFolder("programs") as folder:
        assert len(folder.names()) == 1


def test_a_folder_that_goes_away(cache: CompileCache, entry: Path, library: Path) -> None:
    entry.unlink()
    entry.parent.rmdir()
    assert cache.is_empty
    assert cache.find(REQUEST) is None
    cache.keep(REQUEST, COMPILED, [made_by(library)])


@pytest.mark.usefixtures("programs")
def test_no_folder(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/self/status")
    with caplog.at_level(logging.DEBUG, "retis_py"):
        assert CompileCache.of_user() is None
    assert "compile cache: there is none: [Errno 20] Not a directory" in caplog.text


# The compiler and its cache

TEXT = """
#include <linux/types.h>
#include <bcc/helpers.h>
BPF_HASH(counts, u32, u64, 100);
int first(void *ctx) { u32 key = 1; u64 one = 1; counts.update(&key, &one); return 0; }
"""


def compile_it(text: str = TEXT) -> Compiled:
    with Compiler(CompileCache.of_user()) as compiler:
        return compiler.compile(text, ["first"])


@pytest.mark.usefixtures("programs", "open_descriptors")
def test_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require("root")
    compiled = compile_it()
    (tmp_path / "bcc.py").write_text("raise ImportError('No module named bcc')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert compile_it() == compiled
    with pytest.raises(MissingPrerequisite, match="cannot import bcc"):
        compile_it(TEXT.replace("100", "200"))
    with Compiler() as compiler, pytest.raises(MissingPrerequisite, match="cannot import bcc"):
        compiler.compile(TEXT, ["first"])


@pytest.mark.usefixtures("programs")
def test_child_only_where_it_is_needed() -> None:
    require("root")
    with Compiler(CompileCache.of_user()) as compiler:
        assert compiler._child is not None  # nothing can be found
        compiler.compile(TEXT, ["first"])
    with Compiler(CompileCache.of_user()) as compiler:
        assert compiler._child is None
        compiler.compile(TEXT, ["first"])
        assert compiler._child is None
        compiler.compile(TEXT.replace("100", "200"), ["first"])
        assert compiler._child is not None


def test_the_compiler_says_which_files_it_is(programs: Path) -> None:
    require("root")
    compile_it()
    [path] = programs.iterdir()
    content = msgspec.msgpack.decode(path.read_bytes()[HEADER:])
    names = [Path(os.fsdecode(path)).name for path, _, _ in content["made_by"]]
    assert names[0] == "__init__.py"
    assert any(name.startswith("libbcc.so") for name in names)
    assert any(name.startswith("libLLVM") for name in names)
