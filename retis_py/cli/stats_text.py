"""Statistics as text: the lines of ``retis stats`` as retis has them, and further tables."""

from collections.abc import Iterable
from typing import NamedTuple

from retis_py.events.escape import escape
from retis_py.events.sections.netns import Netns
from retis_py.events.sections.skb_drop import SkbDrop
from retis_py.events.sections.startup import Startup
from retis_py.process.event_probe import EventProbe
from retis_py.process.stats import DeviceCount, Tables, TopTalkers


class FileTables(NamedTuple):
    """Statistics of a file."""

    name: str  # safe to show
    startup: Startup
    tables: Tables


def file_text(file: FileTables) -> str:
    """Return the text of a file, whole lines."""
    startup = file.startup
    lines = [
        f"Retis version: {escape(startup.retis_version)}",
        f"Retis cmdline: {escape(startup.cmdline)}",
    ]
    if startup.split_file is not None:
        lines.append(f"Split index: {startup.split_file.id}")
    return _text([*lines, *_lines(file.tables)])


def total_text(files: int, total: Tables) -> str:
    """Return the text of all files together, whole lines."""
    return _text([f"Total of {files} files:", *_lines(total)])


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def _lines(tables: Tables) -> list[str]:
    lines = []
    if tables.series is not None:
        lines.append(f"Number of series: {tables.series}")
    lines.append(f"Number of events: {tables.events}")
    if tables.first_event is not None and tables.last_event is not None:
        lines.append(f"First event at: {tables.first_event.utc}")
        lines.append(f"Last event at: {tables.last_event.utc}")
    probes = (
        f"{escape(str(EventProbe(probe.type, probe.symbol)))}: {probe.events}"
        for probe in tables.probes
    )
    lines += _table("Probes", probes)
    drops = (f"{_reason(drop.reason, drop.subsys)}: {drop.events}" for drop in tables.drops)
    lines += _table("Drop reasons", drops)
    if tables.packets.packets:
        lines.append(f"Number of packets: {tables.packets.packets}")
        lines.append(f"Bytes of packets: {tables.packets.bytes}")
        complete = tables.packets.complete
        lines += _table("Top talkers by bytes", _by_bytes(tables.packets.by_bytes, complete))
        lines += _table("Top talkers by packets", _by_packets(tables.packets.by_packets, complete))
    lines += _table("Devices", (f"{_device(dev)}: {dev.events}" for dev in tables.devices))
    namespaces = (f"{Netns(ns.inum, ns.cookie)}: {ns.events}" for ns in tables.namespaces)
    return lines + _table("Network namespaces", namespaces)


def _table(heading: str, rows: Iterable[str]) -> list[str]:
    """Return a heading and its rows, nothing where there are none."""
    indented = [f"  {row}" for row in rows]
    return [f"{heading}:", *indented] if indented else []


def _reason(reason: str, subsys: str | None) -> str:
    return str(SkbDrop(reason, subsys)).removeprefix("drop (reason ").removesuffix(")")


def _by_bytes(talkers: TopTalkers, complete: bool) -> list[str]:
    rows = [
        f"{' <-> '.join(talker.addresses)}: {talker.bytes} bytes, {talker.packets} packets"
        for talker in talkers.top
    ]
    others = f"{talkers.others.bytes} bytes, {talkers.others.packets} packets"
    return rows + _others(talkers, others, complete)


def _by_packets(talkers: TopTalkers, complete: bool) -> list[str]:
    rows = [
        f"{' <-> '.join(talker.addresses)}: {talker.packets} packets, {talker.bytes} bytes"
        for talker in talkers.top
    ]
    others = f"{talkers.others.packets} packets, {talkers.others.bytes} bytes"
    return rows + _others(talkers, others, complete)


def _others(talkers: TopTalkers, traffic: str, complete: bool) -> list[str]:
    others = talkers.others
    if not others.packets:
        return []
    least = "" if complete else "at least "
    return [f"({least}{others.conversations} others: {traffic})"]


def _device(device: DeviceCount) -> str:
    where = f"if {device.ifindex}"
    if device.inum is not None:
        where += f", {Netns(device.inum, device.cookie)}"
    return f"{escape(device.name)} ({where})"
