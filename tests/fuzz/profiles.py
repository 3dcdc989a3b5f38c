"""Profiles: files of YAML, read, listed, and used by the commands that take them."""

import tempfile
from contextlib import suppress
from pathlib import Path

from click import ClickException
from click.exceptions import Exit

from fuzz.target import Target, assert_safe
from retis_py.cli.collect import collect_command
from retis_py.cli.main import cli
from retis_py.cli.pcap import pcap_command
from retis_py.errors import RetisError
from retis_py.events.escape import escape
from retis_py.profiles import read_profiles
from retis_py.resources import profiles_dir

_WORDS = (
    "version: 1.0\n", "name: ", "about: ", "collect:\n", "pcap:\n", "  - name: a\n", "    when:\n",
    "      - type: symbol\n", "        exists: true\n", "      - type: version\n",
    "        version: \">=5.14, <7\"\n", "    args:\n", "      probe: [a, b]\n", "~", "|\n", "&a",
    "*a", "<<: ", "!!python/object", "!!binary ", "---\n", "...\n", "\t", "{", "}", "[", "]", "- ",
    "? ", ": ", "1e400", "0o7", ".nan", "2026-01-01", "%YAML 1.1\n", "\"\\u202e\"", "\\x1b",
)  # fmt: skip

_SMALL = b"""version: 1.0
name: a
collect:
  - when: [{type: version, version: ">=5.14"}]
    args: &a {probe: [tp:skb:kfree_skb, kprobe:ip_rcv], stack: ~, snaplen: 100}
pcap:
  - args: {probe: tp:net:netif_rx}
---
{version: 1.0, name: b, collect: [{name: c, args: {out: ~}}]}
"""
_LONGEST = 1000  # bytes


def target() -> Target:
    """See the module."""
    folder = Path(tempfile.mkdtemp(prefix="retis-fuzz-"))
    path = folder / "made.yaml"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read_profiles(path)
        except RetisError as error:
            assert_safe(escape(str(error)))
            return
        with (
            suppress(RetisError, Exit),
            cli.make_context("retis", ["-p", str(path), "pcap"]) as top,
        ):
            for command in (collect_command, pcap_command):
                # As far as options are understood; nothing is done.
                try:
                    command.make_context(command.name, [], parent=top)
                except (RetisError, ClickException) as error:
                    assert_safe(escape(str(error)))

    shipped = [file.read_bytes() for file in sorted(profiles_dir().iterdir())]
    seeds = [_SMALL, *(each for each in shipped if len(each) < _LONGEST)]
    return Target(check, seeds, [word.encode() for word in _WORDS], max_length=_LONGEST)
