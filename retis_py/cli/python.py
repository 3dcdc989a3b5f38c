"""``retis python``: a script, or an interactive shell, with the events at hand."""

import code
import importlib
import importlib.util
import logging
import select
import sys
import types
from pathlib import Path
from typing import Any

import click

from retis_py import __version__
from retis_py.api import EventFile
from retis_py.cli import spool_input  # noqa: F401 (to read spools too)
from retis_py.errors import RetisError, UsageError
from retis_py.events.inputs import DEFAULT as DEFAULT_INPUT
from retis_py.events.inputs import find_inputs
from retis_py.events.source import STANDARD_INPUT

SCRIPT_ON_STDIN = "-"
FAILED_SCRIPT_EXIT_CODE = 1


@click.command("python", context_settings={"allow_interspersed_args": False})
@click.option(
    "-i",
    "--input",
    "file",
    metavar="FILE",
    type=click.Path(readable=False, path_type=Path),
    help="Event file that 'reader' reads: a name, '-' for the standard input, or 'NAME.N..' for "
    "a file of a rotated output and those after it.  "
    "[default: retis.data, else retis.data.0..]",
)
@click.argument("script", required=False)
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def python_command(
    ctx: click.Context, file: Path | None, script: str | None, arguments: tuple[str, ...]
) -> None:
    """Run a Python SCRIPT with ARGS, which finds the events in the global 'reader'.

    SCRIPT is a file, or the name of one, with or without '.py', in $HOME/.config/retis/python or
    /usr/share/retis/python. Without one, the standard input is run, or on a terminal an
    interactive shell. 'reader' is an EventFile of the Python library of retis.
    """
    interactive = script is None and sys.stdin is not None and sys.stdin.isatty()
    path = None
    if script is not None and script != SCRIPT_ON_STDIN:
        path = find_script(script)
    elif file == STANDARD_INPUT:
        raise UsageError("the events come from the standard input: name a SCRIPT to run")
    source = b"" if interactive else _read(path)
    main = _main_module(path)
    if interactive:
        _load_scapy(main)
    vars(main)["reader"] = reader = open_reader(file)
    sys.argv = [script or "", *arguments]
    sys.path.insert(0, str(path.resolve().parent) if path else "")
    sys.modules["__main__"] = main
    try:
        if interactive:
            _interact(main, reader, file or DEFAULT_INPUT)
        else:
            _run(source, main)
    except SystemExit as stop:
        ctx.exit(_exit_code(stop))


def script_folders() -> list[Path]:
    """Return where scripts are looked for by name, the first to win first."""
    system = Path("/usr/share/retis/python")
    try:
        return [Path.home() / ".config/retis/python", system]
    except RuntimeError:  # neither $HOME nor an entry in the user database
        return [system]


def find_script(name: str) -> Path:
    """Return the file of that path, or else of that name in the folders of scripts.

    Raises UsageError.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():
        return path
    folders = script_folders()
    candidates = [folder / file for folder in folders for file in (name, f"{name}.py")]
    if "/" not in name:
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        where = " or ".join(map(str, folders))
        raise UsageError(f"no script '{name}': there is no such file, nor '{name}.py' in {where}")
    what = "it is a directory" if path.is_dir() else "there is no such file"
    raise UsageError(f"no script '{name}': {what}")


def open_reader(file: Path | None) -> EventFile:
    """Open the input; ``NAME.N..`` is a file of a rotated output and those after it.

    Raises EventFileError.
    """
    paths = find_inputs(file)
    if len(paths) > 1 or (file or DEFAULT_INPUT) != paths[0]:
        return EventFile.with_rotation(paths[0])
    return EventFile(paths[0])


def _read(path: Path | None) -> bytes:
    """Read the script, or the standard input."""
    if path is None:
        if sys.stdin is None:
            raise UsageError("the standard input is closed: name a SCRIPT to run")
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise RetisError(f"cannot read the script {path}: {reason}") from None


def _main_module(path: Path | None) -> types.ModuleType:
    main = types.ModuleType("__main__")
    vars(main)["__builtins__"] = __builtins__
    if path is not None:
        main.__file__ = str(path)
    return main


def _run(source: bytes, main: types.ModuleType) -> None:
    """Run a program; what it raises is shown as the interpreter would, without our own frames.

    Raises SystemExit, KeyboardInterrupt, RetisError, and OSError where nobody reads the output.
    """
    name = vars(main).get("__file__", "<stdin>")
    try:
        exec(compile(source, name, "exec", dont_inherit=True), vars(main))  # noqa: S102 (asked for)
    except (RetisError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and _output_is_broken():
            raise
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(FAILED_SCRIPT_EXIT_CODE) from None


def _output_is_broken() -> bool:
    """Whether nobody reads the standard output any more (``| head``)."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # closed, or replaced by the script
        return False


def _interact(main: types.ModuleType, reader: EventFile, file: Path) -> None:
    """Run a shell with Python's own history file, and completion of what ``main`` holds."""
    register = getattr(sys, "__interactivehook__", None)
    if register is not None:
        register()
        try:
            import readline  # noqa: PLC0415 (not built into every Python)
            from rlcompleter import Completer  # noqa: PLC0415

            readline.set_completer(Completer(vars(main)).complete)
        except ImportError:
            pass
    lines = [
        f"retis-py {__version__}, Python {sys.version.split()[0]} on {sys.platform}",
        f"'reader' is {file}: "
        + (
            "for series in reader.series(): ..."
            if reader.sorted()
            else "for event in reader.events(): print(event)"
        ),
    ]
    if "Ether" in vars(main):
        lines.append("scapy is loaded: event.packet.to_scapy().show()")
    code.interact("\n".join(lines), local=vars(main), exitmsg="")


def _load_scapy(main: types.ModuleType) -> None:
    """Give the shell scapy's names, as its own shell has them, if it is installed."""
    if importlib.util.find_spec("scapy") is None:
        return
    logging.getLogger("scapy").setLevel(logging.ERROR)  # what it warns of is about sending
    scapy: Any = importlib.import_module("scapy.all")
    names = getattr(scapy, "__all__", None) or [n for n in vars(scapy) if not n.startswith("_")]
    vars(main).update({name: getattr(scapy, name) for name in names})


def _exit_code(stop: SystemExit) -> int:
    """Return what the interpreter would exit with, having said what it would say."""
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code
    print(stop.code, file=sys.stderr)  # noqa: T201
    return 1
