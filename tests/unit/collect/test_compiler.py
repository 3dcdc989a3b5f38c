"""The child that compiles: what it answers, and what it leaves behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.capabilities import require
from lab.netns import wait_until
from retis_py.collect.child import number_maps
from retis_py.collect.compiled import MapDefinition
from retis_py.collect.compiler import Compiler
from retis_py.collect.maps import MapType
from retis_py.errors import MissingPrerequisite, RetisError
from unit.collect.running import compile_text

TEXT = """
#include <linux/types.h>
#include <bcc/helpers.h>
BPF_HASH(counts, u32, u64, 100);
BPF_TABLE("percpu_array", u32, u64, slots, 3);
BPF_RINGBUF_OUTPUT(events, 8);
int first(void *ctx) { u32 key = 1; u64 one = 1; counts.update(&key, &one); return 0; }
int second(void *ctx)
{
	u32 key = 1;

	slots.increment(key);
	events.ringbuf_output(&key, sizeof(key), 0);
	return 7;
}
"""
LD_IMM64, PSEUDO_MAP_FD = 0x18, 1
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def _root() -> None:
    require("root")


def maps_used(code: bytes) -> list[int]:
    return [
        int.from_bytes(code[at + 4 : at + 8], "little")
        for at in range(0, len(code), 8)
        if code[at] == LD_IMM64 and code[at + 1] >> 4 == PSEUDO_MAP_FD
    ]


def test_answer() -> None:
    compiled = compile_text(TEXT, ["second", "first"])
    maps = {m.name: (n, m) for n, m in enumerate(compiled.maps)}
    assert {name: m for name, (_, m) in maps.items()} == {
        "counts": MapDefinition("counts", MapType.HASH, 4, 8, 100, 0),
        "slots": MapDefinition("slots", MapType.PERCPU_ARRAY, 4, 8, 3, 0),
        "events": MapDefinition("events", MapType.RINGBUF, 0, 0, 8 * PAGE, 0),
    }
    assert list(compiled.functions) == ["second", "first"]
    assert all(len(code) % 8 == 0 for code in compiled.functions.values())
    # Maps by their index, not by the child's descriptors.
    assert set(maps_used(compiled.functions["first"])) == {maps["counts"][0]}
    assert set(maps_used(compiled.functions["second"])) == {maps["slots"][0], maps["events"][0]}


def testnumber_maps() -> None:
    load_map = bytes([LD_IMM64, PSEUDO_MAP_FD << 4 | 1, 0, 0, 9, 0, 0, 0]) + bytes(8)
    load_number = bytes([LD_IMM64, 1, 0, 0, 9, 0, 0, 0]) + bytes(8)
    end = bytes([0x95]) + bytes(7)
    linked = number_maps(load_map + load_number + end, {9: 2})
    assert linked == load_map[:4] + bytes([2, 0, 0, 0]) + load_map[8:] + load_number + end


@pytest.mark.usefixtures("open_descriptors")
def test_what_does_not_compile() -> None:
    with pytest.raises(
        RetisError, match=r"the program does not compile .*--log-level debug"
    ) as caught:
        compile_text("int broken(void *ctx) { return nonsense; }", ["broken"])
    assert "\n" not in str(caught.value)


def test_clangs_messages_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "retis_py"), pytest.raises(RetisError):
        compile_text(
            '#line 1 "bpf/hooks/x.c"\nint broken(void *ctx) { return nonsense; }', ["broken"]
        )
    assert re.search(r"bpf/hooks/x\.c:1:\d+: error: use of undeclared identifier", caplog.text)


def test_a_function_that_is_not_there() -> None:
    with pytest.raises(RetisError, match="does not compile"):
        compile_text(TEXT, ["third"])


def children() -> set[str]:
    text = Path("/proc/self/task", str(os.getpid()), "children").read_text()
    return set(text.split())


@pytest.mark.usefixtures("open_descriptors")
def test_giving_up_leaves_nothing() -> None:
    before = children()
    with Compiler() as compiler:
        folder = compiler._child.folder.path
        assert (folder / "include/linux/kconfig.h").is_file()
        assert len(children() - before) == 1
    assert children() == before
    assert not folder.exists()


@pytest.mark.usefixtures("open_descriptors")
def test_the_answer_leaves_nothing() -> None:
    """The collection that follows may be killed at any time: no folder stays in /tmp."""
    with Compiler() as compiler:
        folder = compiler._child.folder.path
        compiler.compile(TEXT, ["first"])
        assert not folder.exists()


def test_a_child_that_is_killed() -> None:
    with Compiler() as compiler:
        compiler._child.process.kill()
        with pytest.raises(RetisError, match="ended by SIGKILL: was memory short"):
            compiler.compile(TEXT, ["first"])


def test_without_bcc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bcc.py").write_text("raise ImportError('No module named bcc')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingPrerequisite, match=r"cannot import bcc.*apt-get install python3-bpfcc"
    ):
        compile_text(TEXT, ["first"])


def test_nothing_is_imported_from_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("bcc", "msgspec", "logging"):
        (tmp_path / f"{name}.py").write_text("import os; open('taken', 'w'); os._exit(1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    assert compile_text(TEXT, ["first"]).functions
    assert not (tmp_path / "taken").exists()


def test_the_collecting_process_has_no_llvm() -> None:
    code = (
        "import sys, retis_py.collect.session; "
        "assert 'bcc' not in sys.modules; "
        "assert 'LLVM' not in open('/proc/self/maps').read()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_compiles_leaves_no_folder(number: int, tmp_path: Path) -> None:
    """Before anything is attached the command ends like any other program, and cleans up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "retis_py", "collect", "--no-cache"],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(tmp_path.glob("retis-*")), "the compiler's folder")
        process.send_signal(number)
        process.wait(20)
    finally:
        process.kill()
        process.wait()
    assert not list(tmp_path.glob("retis-*"))
