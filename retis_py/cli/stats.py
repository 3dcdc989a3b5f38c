"""``retis stats``: what is in an event file, in numbers."""

import json
from typing import Any

import click
import msgspec

from retis_py.cli.reading import Progress, Reading, reading_options
from retis_py.cli.selection_options import selection_options
from retis_py.cli.stats_text import FileTables, file_text, total_text
from retis_py.cli.text_output import text_output
from retis_py.events.compat import CURRENT
from retis_py.events.jsonl import EventFile
from retis_py.process.select import Selection
from retis_py.process.selected import SelectedLines
from retis_py.process.stats import Stats, Tables
from retis_py.process.stats_lines import CountLines
from retis_py.process.work import Job, work_through


@click.command("stats")
@reading_options
@selection_options
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Talkers to name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats_command(reading: Reading, selection: Selection, top: int, as_json: bool) -> None:
    """Count the events of FILE, or of retis.data, by probe, drop reason, device and namespace.

    Packets are counted by conversation. FILE comes from 'retis collect -o' or 'retis sort -o'; '-'
    is the standard input, 'NAME.0..' the files NAME.0, NAME.1 and so on, which are counted one by
    one and together.
    """
    files, total = _count(reading, selection, top)
    with text_output() as write:
        if as_json:
            write(_json(files, total))
        else:
            texts = [file_text(file) for file in files]
            if len(files) > 1:
                texts.append(total_text(len(files), total))
            write("\n".join(texts).encode())


def _count(reading: Reading, selection: Selection, top: int) -> tuple[list[FileTables], Tables]:
    files = []
    total = None
    progress = Progress(reading, hidden=False)
    for file in reading.files():
        stats = Stats(is_sorted=file.sorted)
        total = total or Stats(is_sorted=file.sorted)
        offset = file.startup.clock_monotonic_offset.ns
        job = _job(file, reading, selection)
        for _, piece in work_through(file, job, reading.jobs, progress.seen):
            stats.add(piece, offset)
            if len(reading.paths) > 1:
                total.add(piece, offset)
        progress.next_file(file.source.size or 0)
        files.append(FileTables(file.name, file.startup, stats.tables(top)))
    progress.end()
    assert total is not None  # noqa: S101 (there is a file, or opening it has failed)
    return files, files[0].tables if len(files) == 1 else total.tables(top)


def _job(file: EventFile, reading: Reading, selection: Selection) -> Job:
    if not selection:
        return CountLines(file.format, keep_going=reading.keep_going)
    count = CountLines(file.format._replace(version=CURRENT), keep_going=reading.keep_going)
    return SelectedLines(file.format, selection, keep_going=reading.keep_going, then=count)


def _json(files: list[FileTables], total: Tables) -> bytes:
    told: dict[str, Any] = {
        "files": [_file_dict(file) for file in files],
        "total": msgspec.to_builtins(total),
    }
    return json.dumps(told, indent=2).encode() + b"\n"


def _file_dict(file: FileTables) -> dict[str, Any]:
    startup = file.startup
    told: dict[str, Any] = {
        "file": file.name,
        "retis_version": startup.retis_version,
        "cmdline": startup.cmdline,
    }
    if startup.split_file is not None:
        told["split_index"] = startup.split_file.id
    told |= msgspec.to_builtins(file.tables)
    return told
