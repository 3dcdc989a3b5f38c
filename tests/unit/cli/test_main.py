"""The command ``retis``: global options, lazy commands, logging, and the edge for errors."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from retis_py import __version__
from retis_py.cli import main as main_module
from retis_py.cli.globals import GlobalOptions
from retis_py.cli.log import TRACE, LogLevel, set_up_logging, wants_colour
from retis_py.cli.main import COMMANDS, LazyCommand, cli, main

CHECKOUT = Path(__file__).parents[3]

# What a command can do, as `retis boom WHAT`.
BOOM = '''
import errno, logging, os, sys
import click
from retis_py import errors

@click.command("boom")
@click.argument("what")
@click.pass_obj
def boom(options, what):
    """Fail as told."""
    click.echo("before")
    if what == "retis": raise errors.MissingPrerequisite("no kprobes: use tracepoints\\n\\x1b[31m")
    if what == "usage": raise errors.UsageError("nonsense")
    if what == "click": raise click.BadParameter("bad value", ctx=click.get_current_context())
    if what == "interrupt": raise KeyboardInterrupt
    if what == "abort": raise click.Abort
    if what == "os": raise PermissionError(errno.EACCES, "Permission denied", "/some/file\\x1b")
    if what == "call": raise FileNotFoundError(errno.ENOENT, "No such file or directory")
    if what == "words": raise FileNotFoundError(errno.ENOENT, "No usable temporary directory")
    if what == "descriptor": os.stat(1 << 20)  # its error has a number as name
    if what == "full": raise OSError(errno.ENOSPC, "No space left on device")
    if what == "bug": raise ValueError("what\\nnow")
    if what == "module": import no_such_module_at_all
    if what == "exit": click.get_current_context().exit(7)
    if what == "return": return 9
    if what == "log":
        log = logging.getLogger("retis_py.boom")
        for level in (5, 10, 20, 30, 40): log.log(level, "level %d of \\x1b]0;%s", level, "x\\ny")
    if what == "options": click.echo(repr(options))
'''


CALL = "a system call failed: {}; 'retis --log-level debug ...' shows which"
BUG = (
    r"this is a bug in retis-py (ValueError: what\x0anow): please report it with what "
    "'retis --log-level debug ...' prints"
)
MISSING_PACKAGE = (
    f"the Python package 'no_such_module_at_all' is missing for {sys.executable}: install it, "
    "or install retis-py again with its dependencies"
)


@pytest.fixture(autouse=True)
def boom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boom_command.py").write_text(BOOM)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(COMMANDS, "boom", LazyCommand("boom_command:boom", "Fail as told."))
    sys.modules.pop("boom_command", None)


def python(code: str, *args: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        ("retis", 1, r"Error: no kprobes: use tracepoints\x0a\x1b[31m"),
        ("usage", 2, "Error: nonsense"),
        ("click", 2, "Error: Invalid value: bad value. Try 'retis boom --help'."),
        ("interrupt", 130, None),
        ("abort", 130, None),
        ("os", 1, r"Error: /some/file\x1b: Permission denied"),
        ("call", 1, f"Error: {CALL.format('No such file or directory')}"),
        ("words", 1, "Error: No usable temporary directory"),
        ("descriptor", 1, f"Error: {CALL.format('Bad file descriptor')}"),
        ("full", 1, "Error: cannot write: No space left on device"),
        ("bug", 1, f"Error: {BUG}"),
        ("module", 1, f"Error: {MISSING_PACKAGE}"),
        ("exit", 7, None),
        ("return", 9, None),
    ],
)
def test_what_a_command_raises(
    what: str, code: int, message: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["boom", what]) == code
    output = capsys.readouterr()
    assert output.out == "before\n"
    assert output.err == ("" if message is None else message + "\n")


@pytest.mark.parametrize(
    "arguments", [["--log-level", "debug"], ["--log-level=debug"], ["--log-level", "trace"]]
)
@pytest.mark.parametrize(("what", "message"), [("bug", BUG.partition("(")[0]), ("call", CALL[:20])])
def test_shown_with_its_traceback(
    arguments: list[str], what: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "boom", what]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any("in boom" in line for line in lines)
    assert lines[-1].startswith(f"Error: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["--frobnicate"], "No such option"),
        (["--log-level", "loud", "boom", "exit"], "'loud' is not one of 'error', 'warn'"),
        (["boom"], "Missing argument 'WHAT'"),
        (["--profile"], "Option '--profile' requires an argument"),
    ],
)
def test_usage_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert message in error
    assert error.count("\n") == 1


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("-h", "--help"):
        assert main([option]) == 0
        text = capsys.readouterr().out
        for name, lazy in COMMANDS.items():
            assert re.search(rf"^  {name} +{re.escape(lazy.summary)}$", text, re.MULTILINE)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"retis-py {__version__}\n"
    assert main([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Usage: retis" in output.err


def test_global_options() -> None:
    context = cli.make_context(
        "retis",
        [
            "--log-level=trace",
            "-p",
            "a,b",
            "--profile",
            "c",
            "-Px",
            "-P",
            "y",
            "--kconf",
            "k",
            "profile",
        ],
    )
    with context:
        options = context.params
        assert options["profiles"] == ("a", "b", "c")
        assert options["extra_profiles_dirs"] == (Path("x"), Path("y"))
        assert options["kconf"] == Path("k")


def test_commands_see_the_global_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--log-level", "error", "-P", "x", "boom", "options"]) == 0
    expected = GlobalOptions(log_level=LogLevel.ERROR, extra_profiles_dirs=(Path("x"),))
    assert capsys.readouterr().out == f"before\n{expected!r}\n"


def test_profiles_without_effect_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-p", "dropmon", "boom", "options"]) == 0
    assert "[WARN] profiles have no effect on 'retis boom'" in capsys.readouterr().err


# Commands are imported when used


def test_every_command_of_the_table_exists() -> None:
    for name, lazy in COMMANDS.items():
        command = lazy.load()
        assert command.name == name
        module = lazy.target.partition(":")[0]
        assert module in sys.modules


MODULES = """
import json, sys
before = set(sys.modules)
from retis_py.cli.main import main
code = main(sys.argv[1:])
print("\\n" + json.dumps(sorted(set(sys.modules) - before)))
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], {"yaml", "ctypes", "msgspec", "orjson", "retis_py.cli.profile"}),
        (["print", "--help"], {"yaml", "multiprocessing", "bcc"}),
        (["collect", "--help"], {"yaml", "bcc"}),
        (["profile", "list"], {"ctypes", "bcc"}),
    ],
)
def test_imports_only_what_is_needed(arguments: list[str], forbidden: set[str]) -> None:
    result = python(MODULES, *arguments)
    assert result.returncode == 0, result.stderr
    loaded = set(json.loads(result.stdout.splitlines()[-1]))
    assert "click" in loaded
    assert not loaded & forbidden
    if arguments[0] != "collect":
        assert not [name for name in loaded if name.startswith("retis_py.collect.")]


# Streams and signals


def test_closed_reader_ends_silently() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "retis_py", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CHECKOUT,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "retis_py", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == "Error: cannot write: No space left on device\n"


def test_closed_streams() -> None:
    for redirection, code in ((">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)):
        shell = f"exec {sys.executable} -m retis_py --version {redirection}"
        result = subprocess.run(
            ["/bin/sh", "-c", shell], capture_output=True, cwd=CHECKOUT, check=False
        )
        assert result.returncode == code
        assert result.stderr == b""


def test_interrupt_from_outside(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import click, time\n"
        "@click.command('sleep')\n"
        "def sleep():\n"
        "    click.echo('ready')\n"
        "    time.sleep(30)\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop())\n"
        "from retis_py.cli import main as m\n"
        "m.COMMANDS['sleep'] = m.LazyCommand('sleeper:sleep', '')\n"
        "sys.exit(m.main(['sleep']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CHECKOUT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 130


def test_completion_lists_commands() -> None:
    environment = {
        **os.environ,
        "_RETIS_COMPLETE": "bash_complete",
        "COMP_WORDS": "retis pro",
        "COMP_CWORD": "1",
    }
    result = python("from retis_py.cli.main import main; main()", env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "plain,profile\n"


# Log


@pytest.mark.parametrize(
    ("level", "labels"),
    [
        ("error", ["ERROR"]),
        ("warn", ["WARN", "ERROR"]),
        ("info", ["INFO", "WARN", "ERROR"]),
        ("debug", ["DEBUG", "INFO", "WARN", "ERROR"]),
        ("trace", ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]),
    ],
)
def test_log_levels_and_form(
    level: str, labels: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--log-level", level, "boom", "log"]) == 0
    output = capsys.readouterr()
    assert output.out == "before\n"
    lines = output.err.splitlines()
    assert [line.split("[")[1].split("]")[0] for line in lines] == labels
    for line in lines:
        assert re.fullmatch(r"\d\d:\d\d:\d\d \[[A-Z]+\] level \d+ of \\x1b\]0;x\\x0ay", line)


def test_default_level_is_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boom", "log"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_set_up_again_adds_no_second_handler(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogLevel.TRACE)
    set_up_logging(LogLevel.INFO)
    logger = logging.getLogger("retis_py.x")
    logger.log(TRACE, "hidden")
    logger.info("shown")
    assert capsys.readouterr().err.count("\n") == 1


def test_exceptions_in_the_log_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogLevel.INFO)
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        logging.getLogger("retis_py").exception("it failed")
    text = capsys.readouterr().err
    assert "\x1b" not in text
    assert text.endswith("ValueError: \\x1b[2J\n")


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, other_end = os.openpty()
    monkeypatch.delenv("NO_COLOR", raising=False)
    with os.fdopen(other_end, "w") as stream:
        assert wants_colour(stream)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not wants_colour(stream)
        monkeypatch.setenv("NO_COLOR", "")  # empty: not set (no-color.org)
        monkeypatch.setattr(sys, "stderr", stream)
        set_up_logging(LogLevel.INFO)
        logging.getLogger("retis_py").warning("careful \x1b[31m")
        written = os.read(terminal, 1000).decode()
    os.close(terminal)
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[\x1b\[33mWARN\x1b\[0m\] careful \\x1b\[31m\r\n", written)
    with Path(os.devnull).open("w") as file:
        assert not wants_colour(file)


def test_module_runs_as_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "retis_py", "--version"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=True,
    )
    assert result.stdout.startswith("retis-py ")


def test_table_holds_click_commands_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "odd", LazyCommand("os:getcwd", ""))
    with pytest.raises(AssertionError):
        main_module.cli.get_command(click.Context(cli), "odd")
