"""``retis collect --out-rotate``: the files, and what is left of them when something fails."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import capabilities, cli, netns
from lab.collection import namespace_number, sender
from lab.emulation import fast_machine_only
from lab.mounts import retis_after

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("root", "btf"),
    fast_machine_only,
]

PROBE = ("-c", "skb,dev,ns", "-p", "tp:net:netif_rx")
PORT = 4001
COUNT = 3000
LIMIT = 100_000


@pytest.fixture(scope="module")
def link() -> Iterator[netns.Pair]:
    capabilities.require("root")
    with netns.pair(ipv6=False) as made:
        made.right.run("nft", "table ip quiet {\nchain out {\ntype filter hook output priority 0;"
                       " policy drop;\n}\n}")  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def collected(link: netns.Pair, tmp_path_factory: pytest.TempPathFactory) -> cli.Result:
    """A collection of 3000 datagrams in files of 100 kB, and the events of each file."""
    path = tmp_path_factory.mktemp("rotated") / "events"
    command = sender(link.left, "udp-many", link.right.ip4, PORT, 20, COUNT)
    result = cli.retis("collect", *PROBE, "-o", path, "--out-rotate", "100kB", "--cmd", command)
    assert result.exit_code == 0, result.stderr
    return cli.Result(0, str(path), result.stderr)


def pieces(path: str) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    while (piece := Path(f"{path}.{len(found)}")).exists():
        found.append([json.loads(line) for line in piece.read_bytes().splitlines()])
    return found


def test_files(link: netns.Pair, collected: cli.Result) -> None:
    path = collected.stdout
    found = pieces(path)
    assert len(found) >= 10
    assert len(list(Path(path).parent.iterdir())) == len(found)
    assert f"{len(found)} files written; '{path}.0..' stands for all" in collected.stderr
    assert ", none lost" in collected.stderr
    for number, (startup, *events) in enumerate(found):
        policy = {"kind": "size", "limit": LIMIT}
        assert startup["startup"].pop("split_file") == {"id": number, "policy": policy}
        assert startup == found[0][0]
        assert events
        assert not [event for event in events if "startup" in event]
        size = Path(f"{path}.{number}").stat().st_size
        assert size <= LIMIT
        assert size > LIMIT - 2000 or number == len(found) - 1
    here = namespace_number(link.right)
    events = [event for _, *events in found for event in events]
    assert sum(event["netns"]["inum"] == here for event in events) == COUNT
    [total] = [line for line in collected.stderr.splitlines() if "event(s), none lost" in line]
    assert total.endswith(f" {len(events):,} event(s), none lost")


def test_names_of_all_files_are_long(link: netns.Pair, tmp_path: Path) -> None:
    """Together longer than any message between the two processes is."""
    path = tmp_path / ("e" * 200)
    command = sender(link.left, "udp-many", link.right.ip4, PORT, 20, COUNT)
    result = cli.retis("collect", *PROBE, "-o", path, "--out-rotate", "4kB", "--cmd", command)
    assert result.exit_code == 0, result.stderr
    count = len(list(tmp_path.iterdir()))
    assert count * len(str(path)) > 1 << 16
    assert f"{count} files written; '{path}.0..' stands for all" in result.stderr


def test_the_reference_reads_all(collected: cli.Result) -> None:
    retis = pytest.importorskip("retis")
    path = collected.stdout
    expected = [event for piece in pieces(path) for event in piece]
    read = [event.to_dict() for event in retis.EventReader.with_rotation(f"{path}.0")]
    assert [e for e in read if "startup" not in e] == [e for e in expected if "startup" not in e]
    file = retis.EventFile.with_rotation(f"{path}.0")
    assert not file.sorted()
    assert sum(1 for _ in file.events()) == len(read)
    one = [event.to_dict() for event in retis.EventReader(f"{path}.3")]
    assert one == pieces(path)[3]


def test_older_files_are_refused_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "events.2").write_text("precious")
    result = cli.retis(
        "collect", *PROBE, "-o", "events", "--out-rotate", "1MB", "--cmd", "true",
        cwd=tmp_path, environment={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert result.exit_code == 1
    [message] = [line for line in result.stderr.splitlines() if "[" not in line]
    assert message.startswith("Error: events.2 of an earlier collection is still there")
    assert [path.name for path in tmp_path.iterdir()] == ["events.2"]
    assert (tmp_path / "events.2").read_text() == "precious"


def test_a_plain_file_beside_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "events"
    plain.write_text("precious")
    result = cli.retis("collect", *PROBE, "-o", plain, "--out-rotate", "1MB", "--cmd", "true")
    assert result.exit_code == 0
    assert f"[WARN] {plain} of an earlier collection stays beside {plain}.0" in result.stderr
    assert f" written; '{plain}.0..' stands for all" in result.stderr
    assert plain.read_text() == "precious"


def test_full_file_system(link: netns.Pair, tmp_path: Path) -> None:
    """What does not fit is said, to the event, and all files can be read."""
    disk, copies = tmp_path / "disk", tmp_path / "copies"
    disk.mkdir()
    command = sender(link.left, "udp-many", link.right.ip4, PORT, 500, 2000)
    result = retis_after(
        f"mount -t tmpfs -o size=64k none {disk}",
        *("collect", *PROBE, "-o", disk / "events", "--out-rotate", "20kB", "--cmd", command),
        then=f"cp -r {disk} {copies}",
    )
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    [message] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert f"cannot write {disk}/events.3: No space left on device" in message
    pattern = r"([\d,]+) of ([\d,]+) event\(s\) are not in the file"
    [(missing, total)] = re.findall(pattern, result.stderr.replace(",", ""))
    written = [copy.read_bytes() for copy in sorted(copies.iterdir())]
    assert len(written) == 4
    assert all(data.endswith(b"\n") for data in written[:3])
    kept = sum(data.count(b"\n") - 1 for data in written)
    assert kept + int(missing) == int(total)
