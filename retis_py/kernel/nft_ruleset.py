"""The rules of nftables in this network namespace, as ``nft`` writes them."""

import logging
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

# Handles; no counters' values; no elements of named sets.
_COMMAND = ("nft", "-a", "-s", "-t", "list", "ruleset")

LARGEST = 4 << 20
"""Bytes of ``nft``'s output that are read: some 60,000 rules."""

PATIENCE = 1.5
"""Seconds that a start may take longer for the rules. ``nft`` lists 10,000 in 0.25 s, but asks the
kernel for each set without a name, and for 10,000 of these it takes long."""

POLICY = "policy"
"""Stands in place of a rule's handle for a base chain's own line."""

# A handle has 64 bits; Python makes no numbers of some thousand digits.
_TABLE = re.compile(r"table (\w+) (.+) \{ # handle (\d{1,19})\b.*")
_CHAIN = re.compile(r"\tchain (.+) \{ # handle \d+\b.*")
_HANDLE = re.compile(r" # handle (\d+)$")
_BASE = re.compile(r"\t\ttype \w+ hook ")


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its rules' texts by chain and by handle."""

    family: str
    name: str
    handle: int
    chains: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All tables of a network namespace, ``cut`` where there was too much of them."""

    netns: int  # inum
    tables: list[Table]
    cut: bool = False


class RulesetReader:
    """``nft`` at work on the ruleset of this network namespace, beside us from the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._nft: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed by finish)
        try:
            self._nft = subprocess.Popen(
                _COMMAND, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.PIPE
            )
        except OSError as error:
            _not_stored(f"cannot run nft: {error.strerror}")

    def finish(self, patience: float = PATIENCE) -> Ruleset | None:
        """Return the ruleset; None, and a warning, where that fails or takes ``patience`` s more.

        To be called once.
        """
        with self._output:
            if self._nft is None or not self._wait(self._nft, patience):
                return None
            self._output.seek(0)
            text = self._output.read(LARGEST + 1)
        log.debug("the rules of nftables were read in %.2f s", time.monotonic() - self._started)
        cut = len(text) > LARGEST
        if cut:
            log.warning("only the first %d MiB of the rules of nftables are stored", LARGEST >> 20)
        lines = text[:LARGEST].decode(errors="replace").split("\n")
        netns = Path("/proc/self/ns/net").stat().st_ino
        return Ruleset(netns, parse_ruleset(lines[:-1]), cut)

    def _wait(self, nft: subprocess.Popen[bytes], patience: float) -> bool:
        with nft:
            try:
                _, errors = nft.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                nft.kill()
                took = time.monotonic() - self._started
                _not_stored(f"there are too many, nft was not ready after {took:.1f} s")
                return False
        if nft.returncode:
            reason = errors.decode(errors="replace").partition("\n")[0]
            _not_stored(f"nft failed: {reason}")
        return not nft.returncode


def _not_stored(reason: str) -> None:
    log.warning("the rules of nftables are not stored in the file: %s", reason)


def parse_ruleset(lines: Iterable[str]) -> list[Table]:
    """Parse what ``nft -a list ruleset`` prints; what is no table, chain or rule is skipped.

    Tables begin in the first column, chains after one tab, rules after two. Further lines of a
    rule are indented deeper.
    """
    tables: list[Table] = []
    rules: dict[str, str] | None = None
    pending: list[str] = []
    for line in lines:
        if not line.startswith("\t"):
            rules = None
            if match := _TABLE.fullmatch(line):
                tables.append(Table(match[1], match[2], int(match[3])))
        elif not line.startswith("\t\t"):
            match = _CHAIN.fullmatch(line)
            rules = tables[-1].chains.setdefault(match[1], {}) if match and tables else None
        elif rules is not None:
            if not line.startswith(("\t\t\t", "\t\t ")):
                pending = []
            pending.append(line.strip())
            if match := _HANDLE.search(line):
                rules[match[1]] = _HANDLE.sub("", " ".join(pending))
            elif _BASE.match(line):
                rules[POLICY] = pending[0]
    return tables
