"""The host compiles for an emulated guest what the guest would compile (vm/compile_service.py)."""

import os
from pathlib import Path

import pytest

from lab import cli
from retis_py.collect import compiler
from retis_py.collect.compiled import Compiled
from retis_py.collect.compiler import Compiler

COMPILER_CHILD = Path(cli.__file__).with_name("compiler_child.py")


def compiled(text: str) -> Compiled:
    with Compiler() as made:
        return made.compile(text, ["raw_tracepoint"])


@pytest.mark.skipif("RETIS_COMPILE_FOLDER" not in os.environ, reason="compiles itself")
def test_it_is_the_same(root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = cli.retis("-p", "dropmon", "collect", "--print-bpf")
    assert printed.exit_code == 0, printed.stderr
    here = compiled(printed.stdout)
    monkeypatch.setattr(compiler, "_CHILD", COMPILER_CHILD)
    assert compiled(printed.stdout) == here
    assert here.functions
