"""``retis sort``: the events of a file put together into series, a packet's journey each."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click
from msgspec.structs import replace

from retis_py.cli.late_damage import LateDamage
from retis_py.cli.nft_rules_option import nft_rules_option, stored_nft_rules
from retis_py.cli.options import out_option, text_options
from retis_py.cli.output_file import refuse_same_file, replacing
from retis_py.cli.reading import Progress, Reading, reading_options
from retis_py.cli.selection_options import selection_options
from retis_py.cli.text_output import coloured, text_output
from retis_py.errors import EventFileError
from retis_py.events.compat import CURRENT
from retis_py.events.jsonl import EventFile
from retis_py.events.text import TextFormat
from retis_py.process.line_text import LineText
from retis_py.process.select import Selection
from retis_py.process.selected import SelectedLines
from retis_py.process.sort import SORTED, Sorter
from retis_py.process.windowed_sort import WindowedSorter

log = logging.getLogger(__name__)


@click.command("sort")
@reading_options
@click.option(
    "--max-buffer",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="Hold at most N events, and give out the oldest series when there are more, whether it is "
    "complete or not, as retis does. 0, the default, makes all series complete, with no "
    "more memory.",
)
@out_option("Write the series to this sorted event file, instead of their text.")
@click.option("--print", "print_too", is_flag=True, help="With -o, print their text too.")
@selection_options
@nft_rules_option
@text_options
def sort_command(
    *,
    reading: Reading,
    max_buffer: int,
    out: Path | None,
    print_too: bool,
    selection: Selection,
    nft_rules: bool,
    text_format: TextFormat,
) -> None:
    """Put the events of FILE, or of retis.data, together by packet, the oldest packet first.

    A packet is followed through clones, address translation and Open vSwitch's user space. FILE
    comes from 'retis collect -o'; '-' is the standard input, 'NAME.0..' the files NAME.0, NAME.1
    and so on, as one. With -f or --where those series are kept of which any event matches.
    """
    with ExitStack() as closing:
        files = [
            closing.enter_context(EventFile(path, keep_going=reading.keep_going))
            for path in reading.paths
        ]
        _check(files, reading, out)
        lines = _sorted(files, reading, max_buffer, closing)
        damage = LateDamage(_name(files), keep_going=reading.keep_going)
        if selection:
            judge = SelectedLines(SORTED, selection, keep_going=reading.keep_going)
            lines = damage.through(judge, lines)
        offset = files[0].startup.clock_monotonic_offset.ns
        fmt = replace(text_format, colour=coloured(), clock_offset=offset)
        if nft_rules and (out is None or print_too):
            fmt = replace(fmt, nft_rules=stored_nft_rules(files))
        word = LineText(SORTED, fmt, keep_going=reading.keep_going)
        closing.callback(damage.report)
        if out is None:
            _print(damage.through(word, lines))
            return
        # What is wrong with the input has shown itself when the first line comes.
        first = next(lines)
        with replacing(out) as target:
            target.write(first)
            if print_too:
                copied = _copied(first, lines, target)
                _print(damage.through(word, copied))
                for _ in copied:  # the file gets all, also when nobody reads the text any more
                    pass
            else:
                target.writelines(lines)


def _check(files: list[EventFile], reading: Reading, out: Path | None) -> None:
    """Refuse what cannot be sorted, or not to a file."""
    for file in files:
        if file.sorted:
            raise EventFileError(
                f"{file.name} is sorted already; 'retis print' shows it, and --where there selects"
                " series"
            )
        if out is not None and not file.format.is_current:
            raise EventFileError(
                f"{file.name} was written by retis {file.version}: its events can be shown sorted,"
                f" but a file of series has the format of {CURRENT}; leave out -o, or write it in"
                " the new format first, with 'retis print -o'"
            )
    if out is not None:
        for path in reading.paths:
            refuse_same_file(path, out)


def _sorted(
    files: list[EventFile], reading: Reading, max_buffer: int, closing: ExitStack
) -> Iterator[bytes]:
    """Pieces of a sorted file."""
    if max_buffer:
        windowed = WindowedSorter(files, max_buffer, keep_going=reading.keep_going)
        yield from windowed.lines()
        _warn_of_lost(windowed.lost)
        return
    sorter = closing.enter_context(_sorter(files, reading))
    with Progress(reading, hidden=False) as progress:
        sorter.read(progress.seen)
    _warn_of_lost(sorter.lost)
    yield from sorter.lines()


def _sorter(files: list[EventFile], reading: Reading) -> Sorter:
    return Sorter(files, keep_going=reading.keep_going, processes=reading.jobs)


def _name(files: list[EventFile]) -> str:
    return files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"


def _warn_of_lost(lost: Mapping[str, int]) -> None:
    for event_type, count in sorted(lost.items()):
        log.warning(
            "%s %s event(s) of Open vSwitch belong to no series: their upcall is not in the file",
            f"{count:,}",
            event_type,
        )


def _copied(first: bytes, lines: Iterator[bytes], target: BinaryIO) -> Iterator[bytes]:
    """Write pieces on their way."""
    yield first
    for piece in lines:
        target.write(piece)
        yield piece


def _print(texts: Iterator[bytes]) -> None:
    with text_output() as write:
        for text in texts:
            write(text)
