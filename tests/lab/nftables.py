"""nftables in a test's namespace: what ``nft monitor trace`` tells, and retis run in there."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import netns
from lab.netns import LabError, wait_until

# Starting takes its time on emulated CPUs that others use too.
TIME_LIMIT = 240.0

_STEP = re.compile(
    r"trace id \w+ (?P<family>\w+) (?P<table>\S+) (?P<chain>\S+) "
    r"(?:rule (?P<rule>.*) # handle (?P<handle>\d+) \(verdict (?P<verdict>.*)\)"
    r"|policy (?P<policy>\w+) ?|verdict (?P<bare>\w+) ?)"
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an evaluation: a rule with its handle, or a policy (no handle).

    Of the way back from a chain older kernels do not tell nft the rule.
    """

    table: str
    chain: str
    handle: int | None
    verdict: str
    target: str | None = None


@contextmanager
def monitor(ns: str) -> Iterator[Path]:
    """Run ``nft monitor trace`` in a namespace; yields the file that it writes to."""
    with tempfile.TemporaryDirectory(prefix="retis-nft-") as folder:
        path = Path(folder) / "trace"
        with path.open("wb") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", ns, "nft", "-a", "monitor", "trace"],
                stdin=subprocess.DEVNULL,
                stdout=out,
            )
        try:
            # It has opened its socket once it is listed; protocol 12 is NETLINK_NETFILTER.
            wait_until(lambda: _listens(process.pid), "nft monitor", 60.0)
            yield path
        finally:
            process.kill()
            process.wait()


def _listens(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return any(f[1] == "12" and int(f[2]) == pid and int(f[3], 16) for f in fields)


def steps(trace: str) -> list[Step]:
    """The steps that ``nft monitor trace`` has told of, with rules' texts left out."""
    found = []
    for line in trace.splitlines():
        if match := _STEP.match(line):
            handle = int(match["handle"]) if match["handle"] else None
            verdict, _, target = (match["verdict"] or match["policy"] or match["bare"]).partition(
                " "
            )
            found.append(Step(match["table"], match["chain"], handle, verdict, target or None))
    return found


def rule_texts(trace: str) -> dict[tuple[str, str, int], str]:
    """The texts of rules by table, chain and handle."""
    matches = filter(None, map(_STEP.match, trace.splitlines()))
    return {(m["table"], m["chain"], int(m["handle"])): m["rule"] for m in matches if m["handle"]}


def handles(ns: str) -> dict[tuple[str, ...], int]:
    """Handles of tables, (name,), and chains, (table, name), from ``nft -j list``."""
    listed = json.loads(netns.run(ns, ["nft", "-j", "list", "chains"]).stdout)["nftables"]
    listed += json.loads(netns.run(ns, ["nft", "-j", "list", "tables"]).stdout)["nftables"]
    found: dict[tuple[str, ...], int] = {}
    for item in listed:
        if "table" in item:
            found[(item["table"]["name"],)] = item["table"]["handle"]
        elif "chain" in item:
            found[item["chain"]["table"], item["chain"]["name"]] = item["chain"]["handle"]
    return found


def tables(ns: str) -> list[str]:
    """The names of the tables in a namespace."""
    lines = netns.run(ns, ["nft", "list", "tables"]).stdout.splitlines()
    return [line.split()[2] for line in lines]


@dataclass(frozen=True, slots=True)
class Collecting:
    """A ``retis collect`` in a namespace, all probes attached."""

    process: subprocess.Popen[bytes]
    stderr: Path

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(TIME_LIMIT)


@contextmanager
def collecting(ns: str, *arguments: str) -> Iterator[Collecting]:
    """Run ``retis ARGUMENTS`` in a namespace beside the block, which starts when it is ready."""
    with tempfile.TemporaryDirectory(prefix="retis-nft-") as name:
        folder = Path(name)
        ready = folder / "ready"
        command = [sys.executable, "-m", "retis_py", *arguments, "--ready-file", str(ready)]
        with (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                ["ip", "netns", "exec", ns, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        try:
            wait_until(
                lambda: ready.exists() or process.poll() is not None, "retis collect", TIME_LIMIT
            )
            if not ready.exists():
                raise LabError(f"retis ended early: {(folder / 'stderr').read_text()}")
            yield Collecting(process, folder / "stderr")
        finally:
            process.kill()
            process.wait()
