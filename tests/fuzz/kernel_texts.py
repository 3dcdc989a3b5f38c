"""Texts that other programs and users' files give: nft's rules, a kernel's configuration.

The first byte says which.
"""

import gzip
import tempfile
from pathlib import Path

from fuzz.retis_command import run
from fuzz.target import Target
from retis_py.cli import inspect  # noqa: F401 (to be instrumented)
from retis_py.errors import UsageError
from retis_py.kernel.kconf import KernelConfig
from retis_py.kernel.nft_ruleset import parse_ruleset

_RULES = b"""table ip filter { # handle 1
\tchain input { # handle 1
\t\ttype filter hook input priority filter; policy drop;
\t\ttcp dport { 22, 80 } counter accept # handle 4
\t\tip saddr { 10.0.0.1,
\t\t\t 10.0.0.2 } drop # handle 5
\t}
}
"""
_CONFIG = b"""CONFIG_BPF=y
# CONFIG_KPROBES is not set
CONFIG_LOCALVERSION="-a"
CONFIG_HZ=250
"""
_WORDS = (b"table ", b"\tchain ", b"\t\t", b" { # handle ", b"type filter hook ", b"}\n",
          b"CONFIG_BPF=", b"# CONFIG_", b" is not set\n", b"\x1f\x8b\x08", b"\x1b[")  # fmt: skip


def target() -> Target:
    """See the module."""
    path = Path(tempfile.mkdtemp(prefix="retis-fuzz-")) / "config"

    def check(data: bytes) -> None:
        if not data or data[0] & 1:
            _rules(data[1:])
            return
        path.write_bytes(data[1:])
        try:
            config = KernelConfig.find(path, "6.1")
        except UsageError:
            run("--kconf", path, "inspect", "--help")
            return
        for option in ("CONFIG_BPF", "CONFIG_KPROBES", "CONFIG_LOCALVERSION", "CONFIG_HZ"):
            value = config.value(option)
            assert value is None or isinstance(value, str)

    seeds = [b"\1" + _RULES, b"\0" + _CONFIG, b"\0" + gzip.compress(_CONFIG, mtime=0)]
    return Target(check, seeds, _WORDS, max_length=6000)


def _rules(data: bytes) -> None:
    tables = parse_ruleset(data.decode(errors="replace").split("\n")[:-1])
    for table in tables:
        for rules in table.chains.values():
            assert all("\n" not in rule for rule in rules.values())
