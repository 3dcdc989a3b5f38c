"""Event files, in every command that reads them; with the compiled part and in Python alone.

The first byte says which command; the rest is the file.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from fuzz.retis_command import Run, run
from fuzz.target import Target, assert_safe
from interop.compiled_comparison import TRAPS, lines_of_data, python_alone
from interop.event_strategies import FULL, OVS_KINDS
from retis_py import api
from retis_py.cli import pcap, print, sort, spool_input, stats  # noqa: A004, F401 (instrumented)
from retis_py.errors import EventFileError
from retis_py.events.schema import event_schema_json
from retis_py.events.text import TextFormat, event_text
from retis_py.process import pcapng

_WHERE = 'dev.name == "eth0" or packet.len > 60 and not skb-drop'
_ANY_TEXT = re.compile(rb'("(?:comm|symbol|path|subsys|drop_reason|name|dpflow|\w+_name)":)"[^"]*"')
_HOSTILE = rb'\1"\\u001b[2J\\u202e\\r\\n\\u0085\\u2028\\ufeff"'
_OUT = "OUT"

pcapng.event_schema_json = cache(event_schema_json)  # takes longer than all else
COMMANDS = (
    ("print",),
    ("print", "--format", "single-line", "-e", "--keep-going"),
    ("print", "--where", _WHERE, "--nft-rules"),
    ("print", "-f", "tcp or arp or udp port 53", "--utc"),
    ("print", "--keep-going", "-o", _OUT),
    ("print", "--keep-going", "--where", _WHERE, "-o", _OUT),
    ("sort",),
    ("sort", "--max-buffer", "3", "--keep-going"),
    ("sort", "--keep-going", "-o", _OUT, "--print"),
    ("stats",),
    ("stats", "--keep-going", "--json"),
    ("pcap", "-o", _OUT),
    ("pcap", "--list-probes"),
    ("python",),
)


def target() -> Target:
    """See the module."""
    folder = Path(tempfile.mkdtemp(prefix="retis-fuzz-"))
    return Target(
        lambda data: check(data, folder), [*_seeds()], [*TRAPS, *_words()], max_length=12_000
    )


def check(data: bytes, folder: Path) -> None:
    """Read it with one command."""
    if not data:
        return
    command = COMMANDS[data[0] % len(COMMANDS)]
    path, out = folder / "events", folder / "out"
    path.write_bytes(data[1:])
    if command == ("python",):
        _with_library(path)
        return
    arguments = [out if word == _OUT else word for word in command]
    parallel = () if command[0] == "pcap" else ("-j1",)
    first = _run(*arguments, *parallel, path, out=out)
    if parallel:
        with python_alone():
            assert _run(*arguments, *parallel, path, out=out) == first
    if out.exists() and command[0] != "pcap":
        run("print", out)  # lines are copied as they stand, so that it may be damaged
    out.unlink(missing_ok=True)


def _run(*arguments: str | Path, out: Path) -> tuple[Run, bytes]:
    out.unlink(missing_ok=True)
    ended = run(*arguments)
    # The time at which a message was written differs.
    messages = "\n".join(line[line.find("[") :] for line in ended.stderr.splitlines())
    return Run(ended.code, ended.stdout, messages), out.read_bytes() if out.exists() else b""


def _with_library(path: Path) -> None:
    with suppress(EventFileError):
        file = api.EventFile(path)
        for event in file.events() if not file.sorted() else ():
            assert_safe(event_text(event, TextFormat()))
            repr(event)
            event.to_dict()
        for series in file.series() if file.sorted() else ():
            repr(series)


def _words() -> Iterator[bytes]:
    for event in (FULL, *({"ovs": kind} for kind in OVS_KINDS)):
        for name, section in event.items():
            yield f',"{name}":{json.dumps(section, separators=(",", ":"))}'.encode()[:60]


def _seeds() -> Iterator[bytes]:
    startup, lines = lines_of_data()
    full = json.dumps(FULL, separators=(",", ":")).encode()
    kinds = [json.dumps({"common": FULL["common"], "ovs": kind}).encode() for kind in OVS_KINDS]
    bodies = [b"\n".join((startup, *lines[at : at + 4])) + b"\n" for at in range(0, len(lines), 4)]
    bodies += [startup + b"\n" + full + b"\n", startup + b"\n" + b"\n".join(kinds) + b"\n"]
    # No text of any section may do anything to a terminal.
    hostile = [_ANY_TEXT.sub(_HOSTILE, each) for each in (full, *lines[:4])]
    bodies.append(b"\n".join((startup, *hostile)) + b"\n")
    bodies.append(b"[" + startup + b"]\n[" + b",".join(lines[:3]) + b"]\n[" + full + b"]\n")
    for number, body in enumerate(bodies):
        for command in range(number % 2, len(COMMANDS), 2):
            yield bytes([command]) + body
