"""What ``retis collect -o`` brought back: its event file as plain JSON, and what it said.

The file is read here with nothing of retis_py's, so that a test sees what is written and not what
our own reader makes of it.
"""

import base64
import json
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lab import cli
from lab.netns import Host

Event = dict[str, Any]

# The commands of a test that runs on emulated CPUs may take this long together (s).
TIME_LIMIT = 300.0


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection that has ended; ``events`` are those behind the startup event."""

    result: cli.Result
    path: Path
    startup: Event
    events: Sequence[Event]

    def at(self, symbol: str, probe_type: str | None = None) -> list[Event]:
        """The events of one probe."""
        return [
            e
            for e in self.events
            if e["kernel"]["symbol"] == symbol and probe_type in (None, e["kernel"]["probe_type"])
        ]

    def within(self, *namespaces: int) -> "Collection":
        """Only what happened in these network namespaces: on a machine that others use too."""
        events = [e for e in self.events if e.get("netns", {}).get("inum") in namespaces]
        return Collection(self.result, self.path, self.startup, events)


def collect(*arguments: str | Path, profile: str | None = None, path: Path, cmd: str) -> Collection:
    """Run ``retis collect ARGUMENTS -o PATH --cmd CMD``, which must succeed."""
    before = ["-p", profile] if profile else []
    result = cli.retis(*before, "collect", *arguments, "-o", path, "--cmd", cmd, timeout=TIME_LIMIT)
    assert result.exit_code == 0, f"exit code {result.exit_code}\n{result.stderr}"
    return read(path, result)


def read(path: Path, result: cli.Result) -> Collection:
    """Read an event file whose collection has ended."""
    startup, *events = [json.loads(line) for line in path.read_bytes().splitlines()]
    return Collection(result, path, startup, events)


@contextmanager
def temporary_path() -> Iterator[Path]:
    """A name for an event file, for fixtures that live longer than a test's tmp_path."""
    with tempfile.TemporaryDirectory(prefix="retis-collection-") as folder:
        yield Path(folder) / "events.json"


def packet_bytes(event: Event) -> bytes:
    """The captured bytes of an event's packet, b"" where it has none."""
    return base64.b64decode(event["packet"]["data"]) if "packet" in event else b""


@cache
def namespace_number(host: Host) -> int:
    """The inode number of a host's network namespace."""
    link = host.run("readlink", "/proc/self/ns/net").stdout.strip()
    return int(link.removeprefix("net:[").removesuffix("]"))


@cache
def interface_index(host: Host, dev: str | None = None) -> int:
    """The index of a host's interface, by default of its veth."""
    shown = host.run("ip", "-j", "link", "show", "dev", dev or host.dev).stdout
    return int(json.loads(shown)[0]["ifindex"])


def kernel_symbols(names: Iterable[str]) -> set[str]:
    """Those of these names that are functions of the running kernel."""
    wanted = set(names)
    with Path("/proc/kallsyms").open() as lines:
        return {n for line in lines if (n := line.split()[2]) in wanted}


def sender(host: Host, *words: str | int) -> str:
    """A shell command that runs lab/sender.py in a host's namespace."""
    script = Path(__file__).with_name("sender.py")
    command = [*host.prefix.split(), "/usr/bin/python3", "-IS", str(script), *map(str, words)]
    return shlex.join(command)
