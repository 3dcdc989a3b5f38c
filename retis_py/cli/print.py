"""``retis print``: the events of a file as text."""

import sys
from pathlib import Path

import click

from retis_py.cli.options import text_options
from retis_py.errors import RetisError
from retis_py.events.jsonl import EventFile
from retis_py.events.text import TextFormat
from retis_py.process.printer import Printer


@click.command("print")
@click.argument("file", type=click.Path(path_type=Path), default=Path("retis.data"))
@text_options
def print_command(file: Path, text_format: TextFormat) -> None:
    """Print the events of FILE, or of retis.data, to the standard output.

    FILE comes from 'retis collect -o' or 'retis sort -o'. Events of a sorted file are grouped by
    packet.
    """
    if sys.stdout is None:
        message = "the standard output is closed; open it to print events"
        raise RetisError(message)
    with EventFile(file) as events:
        printer = Printer(sys.stdout.buffer, text_format)
        try:
            for series in events.series():
                printer.series(series)
                if printer.closed:
                    return
        finally:
            # What comes before a damaged line is worth seeing.
            printer.flush()
