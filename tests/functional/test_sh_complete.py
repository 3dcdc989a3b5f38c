"""The Tab key in real shells: ``retis sh-complete`` and what retis answers to its scripts."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import cli
from lab.emulation import fast_machine_only
from lab.tab import press_tab

pytestmark = [pytest.mark.timeout(60), fast_machine_only]

ROOT = Path(__file__).parents[2]
SHELLS = ("bash", "zsh", "fish")
Complete = Callable[[str], list[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of our own, and ``retis`` in the path."""
    retis = tmp_path / "bin" / "retis"
    retis.parent.mkdir()
    retis.write_text(f'#!/bin/sh\nexec {sys.executable} -m retis_py "$@"\n')
    retis.chmod(0o755)
    profiles = tmp_path / ".config/retis/profiles"
    profiles.mkdir(parents=True)
    (profiles / "mine.yaml").write_text(
        "version: 1.0\nname: mine-own\nabout: Mine, and yours\ncollect:\n  - args: {stack: ~}\n"
        "---\nversion: 1.0\nname: mine $(touch x)\nabout: Odd\ncollect:\n  - args: {stack: ~}\n"
    )
    (profiles / "broken.yaml").write_text("{")
    (tmp_path / "events.data").touch()
    return {
        **os.environ,
        "PATH": f"{retis.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "COLUMNS": "500",
    }


@pytest.fixture
def complete(environment: dict[str, str], tmp_path: Path) -> Complete:
    """What bash would offer for a line; as ``Tab`` does, through the script's function."""
    script = cli.retis("sh-complete", "--shell", "bash")
    assert (script.exit_code, script.stderr) == (0, "")

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        asked = (
            f"{script.stdout}\nshopt -s expand_aliases; compopt() {{ echo option $*; }}\n"
            f"COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); COMP_CWORD={len(words) - 1}\n"
            '_retis_completion retis; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", asked],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    return ask


def test_commands(complete: Complete) -> None:
    assert complete("retis col") == ["collect"]
    assert {"collect", "print", "inspect", "schema", "sh-complete"} <= set(complete("retis "))
    assert complete("retis profile l") == ["list"]


def test_options(complete: Complete) -> None:
    assert complete("retis --log") == ["--log-level"]
    assert complete("retis collect --out") == ["--out", "--out-rotate"]
    assert "--perf-buffer" not in complete("retis collect --")  # hidden


def test_choices(complete: Complete) -> None:
    assert complete("retis print --format s") == ["single-line"]
    assert complete("retis --log-level ") == ["error", "warn", "info", "debug", "trace"]
    assert complete("retis sh-complete --shell ") == list(SHELLS)


def test_profiles(complete: Complete) -> None:
    assert complete("retis -p gen") == ["generic"]
    assert complete("retis -p generic,drop") == ["generic,dropmon"]
    every = complete("retis --profile ")
    assert {"generic", "dropmon", "mine-own"} <= set(every)
    assert not [name for name in every if "$" in name]
    assert "generic,generic" not in complete("retis -p generic,")
    assert complete("retis -P /nowhere -p gen") == [""]


def test_profiles_of_another_folder(complete: Complete, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "x.yaml").write_text(
        "version: 1.0\nname: further\nabout: More\ncollect:\n  - args: {stack: ~}\n"
    )
    assert complete(f"retis -P {folder} -p fur") == ["further"]


def test_files_are_left_to_the_shell(complete: Complete) -> None:
    assert complete("retis print ev") == ["option -o default", ""]
    assert complete("retis collect -o ./") == ["option -o default", ""]
    assert complete("retis -p ./") == ["option -o default", ""]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("retis col", "retis collect "),
        ("retis print --form", "retis print --format "),
        ("retis --profile generic,drop", "retis --profile generic,dropmon "),
        ("retis --profile mine", "retis --profile mine-own "),
        ("retis print ev", "retis print events.data "),
    ],
)
@pytest.mark.parametrize("shell", SHELLS)
def test_tab(
    shell: str, typed: str, expected: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Typed into an interactive shell that has read the script."""
    if not shutil.which(shell):
        pytest.skip(f"{shell}: not installed")
    script = tmp_path / "script"
    script.write_text(cli.retis("sh-complete", "--shell", shell).stdout)
    begin = {
        "bash": ["bash", "--norc", "--noprofile", "-i"],
        "zsh": ["zsh", "-f", "-i"],
        "fish": ["fish", "--no-config", "-i"],
    }[shell]
    before = "autoload -U compinit; compinit -u -D; " if shell == "zsh" else ""
    first = f"{before}. {script}"
    shown = press_tab(begin, first, typed, expected, environment=environment, cwd=tmp_path)
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("shell", "name"), [("bash", "retis.bash"), ("zsh", "_retis"), ("fish", "retis.fish")]
)
def test_register(shell: str, name: str, tmp_path: Path) -> None:
    printed = cli.retis("sh-complete", environment={"SHELL": f"/usr/bin/{shell}"})
    result = cli.retis("sh-complete", "--shell", shell, "--register", tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == printed.stdout
    assert printed.stdout.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "shell", "message"),
    [
        ((), "/bin/tcsh", "$SHELL is none that can be completed for: name one with --shell"),
        (("--shell", "tcsh"), "/bin/bash", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (("--register", "/dev/null"), "/bin/bash", "/dev/null is no folder"),
    ],
)
def test_what_cannot_be(arguments: tuple[str, ...], shell: str, message: str) -> None:
    result = cli.retis("sh-complete", *arguments, environment={"SHELL": shell})
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
