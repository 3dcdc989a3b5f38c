"""The command ``retis``: global options, its commands, and the edge where errors become text.

Commands are imported only when they are used, since what ``collect`` needs takes longer to
import than ``print`` takes to run.
"""

import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import click

from retis_py import __version__
from retis_py.cli.globals import GlobalOptions
from retis_py.cli.importing import importing
from retis_py.cli.log import LogLevel, format_traceback, set_up_logging
from retis_py.cli.sh_complete import complete_profiles
from retis_py.errors import OUT_OF_MEMORY, RetisError, UsageError
from retis_py.events.escape import escape

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

log = logging.getLogger(__name__)

BUG_EXIT_CODE = 1
INTERRUPTED_EXIT_CODE = 128 + 2  # SIGINT, as a shell reports it
BROKEN_PIPE_EXIT_CODE = 128 + 13  # SIGPIPE, as a shell reports it


class LazyCommand(NamedTuple):
    """A command that is imported when first used.

    ``target`` is ``module:attribute``; ``summary`` stands in ``retis --help``.
    ``takes_profiles`` says that the command is a ``ProfiledCommand``.
    """

    target: str
    summary: str
    takes_profiles: bool = False

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        with importing():
            command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 (a slip in COMMANDS below)
        return command


COMMANDS = {
    "collect": LazyCommand(
        "retis_py.cli.collect:collect_command",
        "Collect packet events from the running kernel.",
        takes_profiles=True,
    ),
    "print": LazyCommand(
        "retis_py.cli.print:print_command", "Print the events of a file to the terminal."
    ),
    "sort": LazyCommand(
        "retis_py.cli.sort:sort_command", "Put events together by packet, a journey each."
    ),
    "stats": LazyCommand(
        "retis_py.cli.stats:stats_command", "Count events by probe, drop reason, device and more."
    ),
    "pcap": LazyCommand(
        "retis_py.cli.pcap:pcap_command",
        "Write the packets of a file as pcapng or pcap.",
        takes_profiles=True,
    ),
    "python": LazyCommand(
        "retis_py.cli.python:python_command", "Run a Python script, or a shell, with the events."
    ),
    "inspect": LazyCommand(
        "retis_py.cli.inspect:inspect_command",
        "Show what this machine offers, and what can be probed.",
    ),
    "profile": LazyCommand(
        "retis_py.cli.profile:profile_command", "List the profiles that can be used."
    ),
    "schema": LazyCommand(
        "retis_py.cli.schema:schema_command", "Print the JSON schema of an event."
    ),
    "sh-complete": LazyCommand(
        "retis_py.cli.sh_complete:sh_complete_command",
        "Print a script that makes a shell complete retis's options.",
    ),
}


class LazyGroup(click.Group):
    """A group whose commands come from ``COMMANDS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 (click's signature)
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command named, or return None for an unknown name."""
        lazy = COMMANDS.get(cmd_name)
        return lazy.load() if lazy else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Offer the commands without importing any, and options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 (rarely needed)

        found = [
            CompletionItem(name, help=lazy.summary)
            for name, lazy in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 (click's signature)
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])


def _split_names(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="retis-py", message="%(prog)s %(version)s")
@click.option(
    "--log-level",
    type=click.Choice([level.value for level in LogLevel]),
    default=LogLevel.INFO.value,
    show_default=True,
    help="Least important messages to show.",
)
@click.option(
    "-p",
    "--profile",
    "profiles",
    metavar="NAME[,NAME]",
    multiple=True,
    callback=_split_names,
    shell_complete=complete_profiles,
    help="Profile whose arguments to put before the command's own: a name that "
    "'retis profile list' shows, or a file. May be given several times.",
)
@click.option(
    "-P",
    "--extra-profiles-dir",
    "extra_profiles_dirs",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder to search for profiles before all others. May be given several times.",
)
@click.option(
    "--kconf",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Kernel configuration to read instead of the running kernel's own.",
)
@click.pass_context
def cli(
    ctx: click.Context,
    log_level: str,
    profiles: tuple[str, ...],
    extra_profiles_dirs: tuple[Path, ...],
    kconf: Path | None,
) -> None:
    """Follow packets through the Linux networking stack."""
    ctx.obj = GlobalOptions(
        log_level=LogLevel(log_level),
        profiles=profiles,
        extra_profiles_dirs=extra_profiles_dirs,
        kconf=kconf,
    )
    set_up_logging(ctx.obj.log_level)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(UsageError.exit_code)
    if profiles and not COMMANDS[ctx.invoked_subcommand].takes_profiles:
        log.warning("profiles have no effect on 'retis %s'", ctx.invoked_subcommand)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``retis`` with ``arguments`` (default: the process's) and return its exit code.

    The only place that turns exceptions into text for people: one line on standard error.
    """
    if "_RETIS_COMPLETE" in os.environ:  # a shell asks for completions; click answers and exits
        cli.main(prog_name="retis")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(arguments)
        if sys.stdout is not None:  # None where the caller closed it
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has enough (`| head`)
        code = BROKEN_PIPE_EXIT_CODE
    except OSError as error:
        _show_traceback(error, arguments)
        code = _fail(_describe_os_error(error), 1)
    _flush(sys.stdout)
    _flush(sys.stderr)
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        with cli.make_context("retis", list(arguments)) as ctx:  # click empties the list
            result: Any = cli.invoke(ctx)
        code = result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except RetisError as error:
        code = _fail(str(error), error.exit_code)
    except click.ClickException as error:
        code = _fail(_describe_usage_error(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED_EXIT_CODE
    except OSError:
        raise
    except Exception as error:
        code = _report_unexpected(error, arguments)
    return code


def _fail(message: str, exit_code: int) -> int:
    _flush(sys.stdout)  # what was printed before stands before the error
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # else nobody can be told
            print(f"Error: {escape(message)}", file=sys.stderr)  # noqa: T201
    return exit_code


def _describe_usage_error(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message}. Try '{error.ctx.command_path} --help'."
    return message


def _describe_os_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    if isinstance(error.filename, str | bytes):  # there are those with a descriptor
        return f"{os.fsdecode(error.filename)}: {reason}"
    if error.errno == errno.ENOSPC:
        return f"cannot write: {reason}"
    if error.errno == errno.ENOMEM:
        return OUT_OF_MEMORY
    if error.errno is not None and reason == os.strerror(error.errno):
        return f"a system call failed: {reason}; 'retis --log-level debug ...' shows which"
    return reason  # words of whoever raised it


def _is_shortage(error: Exception) -> bool:
    """Whether memory was missing, in the words of Python and of the C library."""
    words = ("can't start new thread", "failed to map segment", "Cannot allocate memory")
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)


def _report_unexpected(error: Exception, arguments: Sequence[str]) -> int:
    if _is_shortage(error):
        return _fail(OUT_OF_MEMORY, RetisError.exit_code)
    _show_traceback(error, arguments)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("retis_py"):
        return _fail(
            f"the Python package '{error.name}' is missing for {sys.executable}: "
            "install it, or install retis-py again with its dependencies",
            1,
        )
    return _fail(
        f"this is a bug in retis-py ({type(error).__name__}: {error}): please report it with "
        "what 'retis --log-level debug ...' prints",
        BUG_EXIT_CODE,
    )


def _show_traceback(error: Exception, arguments: Sequence[str]) -> None:
    """Show it if ``--log-level`` asks for it: read by hand, as click may not have got that far."""
    text = " ".join(arguments).replace("=", " ")
    wanted = "--log-level debug" in text or "--log-level trace" in text
    if wanted and sys.stderr is not None:
        with suppress(OSError, ValueError):  # else nobody can be told
            print(format_traceback(error), file=sys.stderr)  # noqa: T201


def _flush(stream: TextIO | None) -> None:
    """Flush, and where that fails discard, or Python would fail once more when it exits."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
