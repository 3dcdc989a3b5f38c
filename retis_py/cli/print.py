"""``retis print``: the events of a file as text, or a selection of them as a file."""

from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from retis_py.cli.nft_rules_option import nft_rules_option, stored_nft_rules
from retis_py.cli.options import out_option, text_options
from retis_py.cli.output_file import refuse_same_file, replacing
from retis_py.cli.reading import Progress, Reading, reading_options
from retis_py.cli.selection_options import selection_options
from retis_py.cli.text_output import coloured, goes_to_file, text_output
from retis_py.events.compat import CURRENT
from retis_py.events.jsonl import EventFile
from retis_py.events.text import TextFormat
from retis_py.process.line_text import LineText
from retis_py.process.select import Selection
from retis_py.process.selected import SelectedLines
from retis_py.process.work import Job, work_through


@click.command("print")
@reading_options
@out_option("Write the events to this event file, instead of their text.")
@selection_options
@nft_rules_option
@text_options
def print_command(
    *,
    reading: Reading,
    out: Path | None,
    selection: Selection,
    nft_rules: bool,
    text_format: TextFormat,
) -> None:
    """Print the events of FILE, or of retis.data, to the standard output.

    FILE comes from 'retis collect -o' or 'retis sort -o'; '-' is the standard input, 'NAME.0..'
    the files NAME.0, NAME.1 and so on. Events of a sorted file are grouped by packet.
    """
    if out is not None:
        _save(reading, out, selection)
        return
    fmt = replace(text_format, colour=coloured())
    with text_output() as write, Progress(reading, hidden=not goes_to_file()) as progress:
        for number, file in enumerate(reading.files()):
            if nft_rules and (number == 0 or file.startup.nft_rules is not None):
                rules = fmt.nft_rules or stored_nft_rules([file])
                fmt = replace(fmt, nft_rules=rules)
            job = _wording(file, selection, fmt, keep_going=reading.keep_going)
            for _, text in work_through(file, job, reading.jobs, progress.seen):
                write(text)
            progress.next_file(file.source.size or 0)


def _wording(file: EventFile, selection: Selection, fmt: TextFormat, *, keep_going: bool) -> Job:
    fmt = replace(fmt, clock_offset=file.startup.clock_monotonic_offset.ns)
    if not selection:
        return LineText(file.format, fmt, keep_going=keep_going)
    current = file.format._replace(version=CURRENT)
    text = LineText(current, fmt, keep_going=keep_going)
    return SelectedLines(file.format, selection, keep_going=keep_going, then=text)


def _save(reading: Reading, out: Path, selection: Selection) -> None:
    """Write the selected lines as one event file, in the current format."""
    for path in reading.paths:
        refuse_same_file(path, out)
    with replacing(out) as target, Progress(reading, hidden=False) as progress:
        for number, file in enumerate(reading.files()):
            job = SelectedLines(file.format, selection, keep_going=reading.keep_going)
            first = True
            for _, lines in work_through(file, job, reading.jobs, progress.seen):
                if first:
                    startup, _, rest = lines.partition(b"\n")
                    if number == 0:
                        target.write(_startup(startup, file))
                    target.write(rest)
                else:
                    target.write(lines)
                first = False
            progress.next_file(file.source.size or 0)


def _startup(line: bytes, file: EventFile) -> bytes:
    """Return the startup event of a file of the current format that is no part of others."""
    decoded = msgspec.json.decode(line)
    startup = (decoded[0] if file.sorted else decoded)["startup"]
    startup.pop("split_file", None)
    if not file.format.is_current:
        startup["retis_version"] = f"v{CURRENT}"
    return msgspec.json.encode(decoded) + b"\n"
