"""Tables that switch tracing on: in a namespace of their own, with the kernel's nf_tables."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import netns
from lab.capabilities import require
from lab.nftables import tables
from retis_py.kernel.nft_trace import HOW_TO_TRACE, TABLE, _Process, _start_of

# Says when tracing is on, and switches it off when its standard input ends.
SWITCH = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from retis_py.errors import RetisError
from retis_py.kernel.nft_trace import tracing
try:
    with tracing():
        print("on", flush=True)
        sys.stdin.read()
except RetisError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
"""
CHAIN = "chain Retis_Chain { meta nftrace set 1; };"


@pytest.fixture
def ns() -> Iterator[str]:
    require("root")
    with netns.namespace() as name:
        listed = netns.run(name, ["nft", "list", "tables"], check=False)
        if listed.returncode:
            pytest.skip(f"no nf_tables: {listed.stderr.strip()}")
        yield name


def switch(ns: str, *before: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", ns, *before, sys.executable, "-W", "error", "-c", SWITCH]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    )


def switch_on(ns: str) -> subprocess.Popen[str]:
    process = switch(ns)
    assert process.stdout
    assert process.stdout.readline() == "on\n"
    return process


def end(process: subprocess.Popen[str]) -> str:
    """Let it end by itself; what it said."""
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return stderr


def test_table_is_there_while_it_is_needed(ns: str) -> None:
    process = switch_on(ns)
    shown = netns.run(ns, ["nft", "list", "table", "inet", TABLE]).stdout
    assert end(process) == ""
    assert "meta nftrace set 1" in shown
    assert "hook" not in shown  # no packet comes to it
    assert tables(ns) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_goes_with_the_process(ns: str, number: signal.Signals) -> None:
    with switch_on(ns) as process:
        assert tables(ns) == [TABLE]
        process.send_signal(number)
        process.wait()
    netns.wait_until(lambda: not tables(ns), "the table to go")


def test_nobody_else_can_remove_it(ns: str) -> None:
    process = switch_on(ns)
    removed = netns.run(ns, ["nft", "delete", "table", "inet", TABLE], check=False)
    assert removed.returncode != 0
    assert tables(ns) == [TABLE]
    end(process)


def test_two_at_once(ns: str) -> None:
    first, second = switch_on(ns), switch_on(ns)
    assert tables(ns) == [TABLE, f"{TABLE}_{second.pid}"]
    assert end(first) == ""
    assert tables(ns) == [f"{TABLE}_{second.pid}"]
    said = end(second)
    assert said == (
        f"nftables' tracing is in use: the table inet {TABLE} is that of process {first.pid} and"
        " is left alone\n"
    )
    assert tables(ns) == []


@pytest.mark.parametrize("name", [TABLE, f"{TABLE}_4194305"])
@pytest.mark.parametrize("comment", ["retis-py 4194305 1", f"retis-py {os.getpid()} 1"])
def test_left_behind(ns: str, name: str, comment: str) -> None:
    """Of a process that is gone; its number may be another's by now."""
    netns.run(ns, ["nft", f'table inet {name} {{ comment "{comment}"; {CHAIN} }}'])
    process = switch_on(ns)
    assert tables(ns) == [TABLE]
    assert end(process) == f"removed the table inet {name}, which an interrupted run left\n"
    assert tables(ns) == []


@pytest.mark.parametrize("comment", ["", "by hand", "retis-py", "retis-py 1 x", "retis-py 1 1 1"])
def test_tables_of_others_are_left_alone(ns: str, comment: str) -> None:
    netns.run(ns, ["nft", f'table inet {TABLE} {{ comment "{comment}"; {CHAIN} }}'])
    netns.run(ns, ["nft", f"table ip {TABLE} {{ {CHAIN} }}"])
    process = switch_on(ns)
    assert len(tables(ns)) == 3
    assert "was there before and is left alone" in end(process)
    assert tables(ns) == [TABLE, TABLE]


def test_table_without_owner_of_a_running_process(ns: str) -> None:
    """As it is on kernels before Linux 5.12."""
    us = _Process(os.getpid(), _start_of(os.getpid()) or 0)
    netns.run(ns, ["nft", f'table inet {TABLE} {{ comment "{us.comment}"; {CHAIN} }}'])
    process = switch_on(ns)
    assert f"is that of process {os.getpid()}" in end(process)
    assert tables(ns) == [TABLE]


def test_no_permission(ns: str) -> None:
    process = switch(ns, "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-all")
    said = end(process)
    assert said.startswith("MissingPrerequisite: ")
    assert "CAP_NET_ADMIN is needed" in said
    assert said.count("\n") == 1
    assert tables(ns) == []


def test_hint_can_be_followed(ns: str) -> None:
    netns.run(ns, HOW_TO_TRACE)
    assert tables(ns) == [TABLE]
