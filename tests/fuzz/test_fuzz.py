"""Something is found where there is something, and is not found any more once it is mended."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fuzz import blind, session
from fuzz.reduce import outcome, reduced
from fuzz.run_target import ROOT
from fuzz.target import FOUND, SANITIZED, TARGETS, Target, assert_safe, found_inputs

PROGRAM = ROOT / "tests/fuzz/run_target.py"


def planted(data: bytes) -> None:
    """Wrong where there is a G after a B, both of them anywhere."""
    at = data.find(b"B")
    if at >= 0 and b"G" in data[at:]:
        raise KeyError(at)
    if b"crash" in data:
        os.abort()


def test_reduced() -> None:
    assert reduced(planted, b"a lot of words B and more of them G and an end") == b"BG"
    assert reduced(planted, b"some crash here") == b"crash"
    assert reduced(planted, b"nothing") == b"nothing"
    assert outcome(planted, b"BG").startswith("KeyError")
    assert outcome(planted, b"BG") != outcome(planted, b"crash")


def test_blindly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "Random", lambda: Random(1))  # noqa: S311
    current = tmp_path / "current"
    target = Target(planted, [b"one B", b"G two"], [b"G"])
    with pytest.raises(KeyError):
        blind.fuzz_blindly(target, target.seeds, 30, current, 10)
    assert outcome(planted, current.read_bytes())
    harmless = Target(len, [b"seed"], max_length=8)
    assert blind.fuzz_blindly(harmless, harmless.seeds, 0.2, current, 10) > 10
    assert not current.exists()


def test_unsafe_text_is_seen() -> None:
    assert_safe("a line\nanother \u00e9 \ue000\n")
    for char in ("\x1b", "\r", "\u202e", "\x85", "\t"):
        with pytest.raises(AssertionError):
            assert_safe(f"a{char}b")


def test_what_was_found_is_of_a_target() -> None:
    assert {path.name for path in FOUND.iterdir()} <= TARGETS.keys()


@pytest.mark.parametrize("name", [n for n in TARGETS if found_inputs(n) and n not in SANITIZED])
def test_what_was_found_is_mended(name: str) -> None:
    command = [sys.executable, str(PROGRAM), name, *map(str, found_inputs(name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_earlier_mistake_in_c_would_be_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sanitizers: the sources as they are, and with memcpy() given no address."""
    for source in session._NATIVE.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    rows = tmp_path / "rows.c"
    mended = rows.read_text()
    sorting = "\tsort(rows, count, words, other);\n\tfree"
    rows.write_text(mended.replace(sorting, f"\tmemcpy(other, rows, count);\n{sorting}"))
    assert rows.read_text() != mended
    library = tmp_path / "sanitized.so"
    inputs = map(str, found_inputs("compiled_memory"))
    command = [sys.executable, str(PROGRAM), "compiled_memory", *inputs]
    for folder, expected in ((tmp_path, True), (session._NATIVE, False)):
        monkeypatch.setattr(session, "_NATIVE", folder)
        session._compile(library)
        environment = os.environ | session._environment("compiled_memory", library)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ("runtime error: null pointer" in done.stderr) is expected, done.stderr
        assert bool(done.returncode) is expected, done.stderr
