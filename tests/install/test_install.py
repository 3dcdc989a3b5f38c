"""Installed as users do it, and used from outside of the checkout."""

import json
import shutil
from pathlib import Path

import pytest

from lab import capabilities, cli, installed
from lab.installed import ROOT, Environment
from lab.tab import press_tab
from retis_py import __version__

pytestmark = pytest.mark.timeout(300)  # downloads

SAMPLE = ROOT / "tests" / "data" / "test_events.json"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
PLACE = "import retis_py; print(retis_py.__file__)"


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with what it requires, and nothing of the distribution's."""
    place = Environment.make(tmp_path_factory.mktemp("clean") / "venv", system=False)
    place.install(wheel)
    return place


def test_versions(clean: Environment, tmp_path: Path) -> None:
    for command in (("retis",), ("python", "-m", "retis_py")):
        told = clean.run(*command, "--version", cwd=tmp_path)
        assert (told.stdout, told.stderr) == (f"retis-py {__version__}\n", "")
    asked = "from importlib.metadata import version as v; print(v('retis-py'))"
    assert clean.run("python", "-c", asked, cwd=tmp_path).stdout == f"{__version__}\n"
    installed.pip("check", python=clean.python)


def test_print_without_bcc(clean: Environment, tmp_path: Path) -> None:
    assert "ModuleNotFoundError" in clean.run("python", "-c", "import bcc", cwd=tmp_path).stderr
    assert clean.run("python", "-c", PLACE, cwd=tmp_path).stdout.startswith(f"{clean.folder}/")
    asked = "from retis_py.compiled import WHY_NOT; print(repr(WHY_NOT))"
    assert clean.run("python", "-c", asked, cwd=tmp_path).stdout == "''\n"
    printed = clean.run("retis", "print", SAMPLE, cwd=tmp_path)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout
    assert printed.stdout == cli.retis("print", SAMPLE).stdout
    assert "dropmon" in clean.run("retis", "profile", "list", cwd=tmp_path).stdout


def test_collect_without_bcc(clean: Environment, tmp_path: Path) -> None:
    for name in ("root", "btf"):
        capabilities.require(name)
    told = clean.run("retis", "-p", "ifdump", "collect", "--no-cache", cwd=tmp_path)
    assert told.returncode == 1
    assert "cannot import bcc" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab(shell: str, clean: Environment, tmp_path: Path) -> None:
    """Nobody has told the shell of retis: it finds what the wheel has put into share/."""
    if not shutil.which(shell):
        pytest.skip(f"{shell}: not installed")
    if shell == "bash" and not BASH_COMPLETION.exists():
        pytest.skip(f"no {BASH_COMPLETION}")
    share = clean.folder / "share"
    begin, first = {
        "bash": (["bash", "--norc", "--noprofile", "-i"], f". {BASH_COMPLETION}"),
        "zsh": (
            ["zsh", "-f", "-i"],
            f"fpath=({share}/zsh/site-functions $fpath); autoload -U compinit; compinit -u -D",
        ),
        "fish": (["fish", "--private", "-i"], "true"),
    }[shell]
    environment = clean.environment(
        HOME=str(tmp_path), TERM="dumb", COLUMNS="500", XDG_DATA_DIRS=f"{share}:/usr/share"
    )
    shown = press_tab(
        begin, first, "retis col", "retis collect ", environment=environment, cwd=tmp_path
    )
    assert "Traceback" not in shown


def test_collect_with_the_distributions_bcc(sdist: Path, tmp_path: Path) -> None:
    """Of the source distribution, built by what pip gets for it; uninstalled nothing is left."""
    for name in ("root", "btf"):
        capabilities.require(name)
    place = Environment.make(tmp_path / "venv", system=True)
    before = place.files()
    place.install(sdist)
    where = place.run("python", "-c", PLACE, cwd=tmp_path).stdout
    assert where.startswith(f"{place.folder}/")
    assert Path(where.strip()).with_name("_compiled.so").exists()

    collect = ("collect", "--no-cache", "-o", "events", "--cmd", "ping -c 1 127.0.0.1; sleep 1")
    told = place.run("retis", "-p", "ifdump", *collect, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    pings = [e for e in events if e.get("common", {}).get("task", {}).get("comm") == "ping"]
    assert {event["dev"]["name"] for event in pings} == {"lo"}
    assert len(pings) >= 4  # request and reply, sent and received
    printed = place.run("retis", "print", "events", cwd=tmp_path)
    assert printed.stdout.count("proto ICMP") >= 4

    listed = installed.pip("list", "--local", "--format=freeze", python=place.python).split()
    names = [line.partition("==")[0] for line in listed]
    assert {"retis-py", "click"} <= set(names)
    installed.pip("uninstall", "--quiet", "--yes", *names, python=place.python)
    assert place.files() == before
