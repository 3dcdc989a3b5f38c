"""``retis pcap``: the packets of an event file as a capture file."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from retis_py.cli.options import out_option
from retis_py.cli.output_file import binary_stdout, refuse_same_file, replacing
from retis_py.cli.profile_args import ProfiledCommand
from retis_py.cli.reading import Progress, Reading, reading_options
from retis_py.cli.selection_options import selection_options
from retis_py.errors import EventFileError, RetisError
from retis_py.events.escape import escape
from retis_py.events.event import Event
from retis_py.process.classic_pcap import copy_as_classic, require_libpcap
from retis_py.process.packet_export import ExportedPackets, export_packets, probes_with_packets
from retis_py.process.pcapng import PcapngWriter
from retis_py.process.select import Selection

log = logging.getLogger(__name__)

# Writes packets, and tells what there was.
Export = Callable[[PcapngWriter], ExportedPackets]


@click.command("pcap", cls=ProfiledCommand)
@reading_options
@click.option(
    "-p",
    "--probe",
    metavar="PROBE",
    help="Write the packets seen by this probe only, named as for 'retis collect'. "
    "[default: those of all probes, an interface each]",
)
@out_option("File to write. [default: the standard output]")
@click.option(
    "--classic",
    is_flag=True,
    help="Write classic pcap instead of pcapng: packets with their times only.",
)
@click.option(
    "-l",
    "--list-probes",
    is_flag=True,
    help="Only show which probes have packets in FILE, the most hit first.",
)
@selection_options
def pcap_command(
    *,
    reading: Reading,
    probe: str | None,
    out: Path | None,
    classic: bool,
    list_probes: bool,
    selection: Selection,
) -> None:
    """Write the packets of FILE, or of retis.data, as pcapng for Wireshark, tshark and tcpdump.

    FILE comes from 'retis collect -o' or 'retis sort -o'; '-' is the standard input, 'NAME.0..'
    the files NAME.0, NAME.1 and so on.
    """
    if list_probes:
        for found in probes_with_packets(_events(reading)):
            click.echo(escape(f"{found.type}:{found.symbol}"))
        return
    if classic:
        require_libpcap()
    if out is not None:
        for path in reading.paths:
            refuse_same_file(path, out)
    with _output(out) as output:
        packets = partial(
            export_packets,
            _events(reading),
            name=escape(str(reading.paths[0])),
            wanted=probe,
            selection=selection,
        )
        exported, writer = (_export_classic if classic else _export)(packets, output)
    _report(exported, writer)


def _events(reading: Reading) -> Iterator[Event]:
    with Progress(reading, hidden=False) as progress:
        for file in reading.files():
            for series in file.series():
                yield from series
                progress.seen(file.source.position)
            progress.next_file(file.source.size or 0)


def _export(export: Export, output: BinaryIO) -> tuple[ExportedPackets, PcapngWriter]:
    writer = PcapngWriter(output.write)
    try:
        exported = export(writer)
    except EventFileError:
        if writer.packets:  # what comes before a damaged line is worth seeing
            writer.finish()
        raise
    writer.finish()
    return exported, writer


def _export_classic(export: Export, output: BinaryIO) -> tuple[ExportedPackets, PcapngWriter]:
    with tempfile.TemporaryDirectory(prefix="retis-pcap-") as name:
        pcapng, pcap = Path(name) / "packets.pcapng", Path(name) / "packets.pcap"
        try:
            with pcapng.open("wb") as file:
                writer = PcapngWriter(file.write, annotate=False)
                exported = export(writer)
                writer.finish()
        except OSError as error:
            message = f"cannot write to {name}: {error.strerror}; TMPDIR names another folder"
            raise RetisError(message) from None
        copy_as_classic(pcapng, pcap, writer.packets, writer.data_size)
        with pcap.open("rb") as file:
            shutil.copyfileobj(file, output)
    return exported, writer


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    if path is not None:
        with replacing(path) as file:
            yield file
        return
    stream = binary_stdout("a capture file")
    yield stream
    stream.flush()


def _report(exported: ExportedPackets, writer: PcapngWriter) -> None:
    """Say what was written, and what is not as it was in the events."""
    log.info("%d packet(s) written", writer.packets)
    if exported.without_packet:
        log.info("%d event(s) without a packet left out", exported.without_packet)
    if writer.clamped:
        log.warning("%d packet(s) have times that no capture file can hold", writer.clamped)
    if writer.cut:
        log.warning("%d comment(s) were cut at 64 KiB", writer.cut)
    if writer.unannotated:
        log.warning("%d event(s) are too long to be added as JSON (64 KiB)", writer.unannotated)
