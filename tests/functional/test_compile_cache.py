"""The second start of a collection: the same events, and no compiler."""

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab import capabilities, cli, frames, netns
from lab.collection import TIME_LIMIT, namespace_number, packet_bytes, read, sender
from lab.emulation import fast_machine_only
from lab.mounts import retis_after

pytestmark = pytest.mark.timeout(400)

CLOSED_PORT = 4001  # nothing listens there
PING = ("collect", "-c", "dev", "-p", "tp:net:netif_rx", "--cmd", "ping -q -c 1 127.0.0.1")
DEBUG = ("--log-level", "debug")


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    capabilities.require("btf")
    with netns.pair(ipv6=False) as made:
        yield made


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, str]:
    """An environment with a folder for caches in which nothing is yet."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return {"XDG_CACHE_HOME": str(folder)}


@pytest.fixture
def no_bcc(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing bcc fails."""
    folder = tmp_path / "poisoned"
    folder.mkdir()
    (folder / "bcc.py").write_text("raise ImportError('nobody may import this')\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def told(result: cli.Result) -> list[str]:
    """What was done with the cache, in order."""
    return re.findall(r"compile cache: \S+ is (\w+(?: there)?)", result.stderr)


def drop(
    link: netns.Pair, path: Path, environment: Mapping[str, str], *options: str
) -> tuple[list[str], list[dict[str, Any]]]:
    """What the cache did, and what of the events does not differ from packet to packet."""
    send = sender(link.left, "udp", link.right.ip4, CLOSED_PORT, 14)
    result = cli.retis(
        *(*DEBUG, "-p", "dropmon", "collect", "-o", path, "--cmd", send, *options),
        environment=environment,
        timeout=TIME_LIMIT,
    )
    assert result.exit_code == 0, result.stderr
    events = read(path, result).within(namespace_number(link.right)).events
    found = [
        {name: event[name] for name in ("skb-drop", "dev", "netns")}
        | {"symbol": event["kernel"]["symbol"], "stack": event["kernel"]["stack_trace"][:2]}
        for event in events
        if "packet" in event and frames.parse(packet_bytes(event)).protocol == frames.UDP
    ]
    return told(result), found


def test_second_start_needs_no_bcc(
    link: netns.Pair, tmp_path: Path, cache: dict[str, str], no_bcc: dict[str, str]
) -> None:
    first, compiled = drop(link, tmp_path / "1", cache)
    second, cached = drop(link, tmp_path / "2", cache | no_bcc)
    assert (first, second) == (["written"], ["used"])
    assert len(compiled) == 1
    assert cached == compiled
    here = no_bcc | {"RETIS_COMPILE_FOLDER": ""}  # in an emulated guest, too
    result = cli.retis("collect", "--no-cache", "--cmd", "true", environment=cache | here)
    assert result.exit_code == 1
    assert "cannot import bcc" in result.stderr


@fast_machine_only
@pytest.mark.usefixtures("link")
def test_no_cache(cache: dict[str, str]) -> None:
    """Neither written nor read."""
    for _ in range(2):
        result = cli.retis(*DEBUG, *PING, "--no-cache", environment=cache)
        assert result.exit_code == 0, result.stderr
        assert "compile cache" not in result.stderr
    assert not list(Path(cache["XDG_CACHE_HOME"]).iterdir())


@fast_machine_only
@pytest.mark.usefixtures("link")
def test_what_a_damaged_entry_is_replaced_by(cache: dict[str, str]) -> None:
    assert told(cli.retis(*DEBUG, *PING, environment=cache)) == ["written"]
    [entry] = Path(cache["XDG_CACHE_HOME"], "retis-py/programs").iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-1])
    result = cli.retis(*DEBUG, *PING, environment=cache)
    assert (result.exit_code, told(result)) == (0, ["removed", "written"])
    assert entry.read_bytes() == whole
    assert told(cli.retis(*DEBUG, *PING, environment=cache)) == ["used"]


@fast_machine_only
@pytest.mark.usefixtures("link")
def test_many_at_once(tmp_path: Path, cache: dict[str, str]) -> None:
    """All start where nothing is there yet; what they leave is good for the next."""
    ready = [tmp_path / f"ready{n}" for n in range(3)]
    with ThreadPoolExecutor(len(ready)) as pool:
        results = [
            pool.submit(cli.retis, *DEBUG, *PING, "--ready-file", path, environment=cache)
            for path in ready
        ]
        assert all(result.result().exit_code == 0 for result in results)
    assert all(path.exists() for path in ready)
    assert len(list(Path(cache["XDG_CACHE_HOME"], "retis-py/programs").iterdir())) == 1
    assert told(cli.retis(*DEBUG, *PING, environment=cache)) == ["used"]


@fast_machine_only
@pytest.mark.usefixtures("link")
@pytest.mark.parametrize(
    ("setup", "says"),
    [
        ("mount -t tmpfs -o ro none {0}", "Read-only file system"),
        ("mount -t tmpfs -o nr_inodes=3 none {0}", "No space left on device"),
        ("mount -t tmpfs none {0} && mkdir -m 777 {0}/retis-py", "others may write there"),
        ("mount -t tmpfs -o uid=65534 none {0}", "belongs to another user"),
        ("mount -t tmpfs none {0} && ln -s /tmp {0}/retis-py", "Not a directory"),
        ("mount -t tmpfs none {0} && touch {0}/retis-py", "Not a directory"),
    ],
)
def test_no_failure_of_the_cache_stops_a_collection(
    cache: dict[str, str], monkeypatch: pytest.MonkeyPatch, setup: str, says: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache["XDG_CACHE_HOME"])
    for level in ("debug", "info"):
        result = retis_after(setup.format(cache["XDG_CACHE_HOME"]), "--log-level", level, *PING)
        assert result.exit_code == 0, result.stderr
        assert "[tp] net:netif_rx" in result.stdout
        assert ("compile cache" in result.stderr) == (level == "debug")
        assert level == "info" or says in result.stderr
