"""``-f`` and ``--where`` as a command gets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from interop.packet_builders import ethernet, ipv4, udp
from retis_py.cli.selection_options import selection_options
from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.events.event import decode
from retis_py.filters import libpcap
from retis_py.process.select import Selection

ROOT = Path(__file__).parents[3]
EVENT = decode(json.dumps({"common": {"timestamp": 1}, "dev": {"name": "eth0", "ifindex": 1}}))


def given(*arguments: str) -> Selection:
    found = []

    @click.command
    @click.argument("file", default="x")
    @selection_options
    def command(file: str, selection: Selection) -> None:
        """Keep what was given."""
        assert file == "x"
        found.append(selection)

    CliRunner().invoke(command, arguments, catch_exceptions=False)
    (selection,) = found
    return selection


def test_neither() -> None:
    assert not given()


def test_where() -> None:
    selection = given("--where", 'dev.name == "eth0"')
    assert selection.matches(EVENT)
    assert not given("--where", "not dev").matches(EVENT)


@pytest.mark.parametrize("option", ["-f", "--filter-packet"])
def test_packet_filter(option: str) -> None:
    selection = given(option, "udp port 53", "--where", "dev")
    assert selection.where is not None
    assert selection.packet_filter is not None
    frame = ethernet(ipv4(udp(b"x"), 17))
    assert selection.packet_filter(frame, len(frame))
    assert not selection.packet_filter(frame[:20], len(frame))
    assert not selection.matches(EVENT)


def test_an_empty_expression_is_none() -> None:
    with pytest.raises(UsageError, match="--where: column 1: expected a field"):
        given("--where", "")


def test_what_libpcap_refuses() -> None:
    with pytest.raises(UsageError, match=r"--filter-packet: .*syntax error"):
        given("-f", "tcp prot 80")


def test_libpcap_is_needed_for_packets_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpcap, "LIBRARIES", ("libnosuch.so.1",))
    libpcap.library.cache_clear()
    try:
        assert given("--where", "dev").matches(EVENT)
        with pytest.raises(MissingPrerequisite, match="packet filters need libpcap"):
            given("-f", "tcp")
    finally:
        libpcap.library.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "dev.nam"], "Error: --where: column 5: 'dev' has no field 'nam'"),
        (["--where", "\x1b[31m\u202e"], r"Error: --where: column 1: '\x1b' means nothing here"),
        (["-f", "host"], "Error: --filter-packet: "),
    ],
)
def test_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    """At the edge that all commands have."""
    code = (
        "import sys, click\n"
        "from retis_py.cli import main\n"
        "from retis_py.cli.selection_options import selection_options\n"
        "@click.command\n"
        "@selection_options\n"
        "def trial(selection): print('ran')\n"
        "main.COMMANDS['trial'] = main.LazyCommand('__main__:trial', '')\n"
        "sys.exit(main.main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "trial", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(message)
    assert ended.stderr.removesuffix("\n").isprintable()
