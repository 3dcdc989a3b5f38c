"""With which privileges a collection runs, and with which it goes on once all is attached."""

import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import capabilities, cli, unprivileged
from lab.collection import temporary_path
from lab.emulation import fast_machine_only
from lab.netns import wait_until
from lab.unprivileged import NOBODY
from retis_py.kernel.capabilities import Capability

pytestmark = pytest.mark.timeout(500)

PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")

ROOT = Path(__file__).parents[2]

# What only looks at the file afterwards, or at what is missing, was tested as root.
SELECTED = "not reference and not without_the_module and not rules_as_text and not hint"


@pytest.fixture(autouse=True)
def _needs(root: None, btf: None) -> None:
    """All of these load programs."""


@pytest.fixture(scope="module")
def perf_events() -> Iterator[None]:
    """The kernel lets those with CAP_PERFMON use perf_event_open (Debian's default does not)."""
    before = PARANOID.read_text()
    if int(before) > 2:
        PARANOID.write_text("2")
    yield
    PARANOID.write_text(before)


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, perf_events: None
) -> Iterator[dict[str, str]]:
    """What has retis started as another user; in a guest with a way for it to the compiler."""
    made = {**os.environ, unprivileged.VARIABLE: "1"}
    given = os.environ.get("RETIS_COMPILE_FOLDER")
    if not given:
        yield made
        return
    folder = tmp_path_factory.mktemp("compile")
    unprivileged.let_in(folder)
    subprocess.run(["mount", "--bind", given, folder], check=True)
    try:
        yield {**made, "RETIS_COMPILE_FOLDER": str(folder)}
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=fast_machine_only) for name in ("collect_drop", "ifdump", "ct")),
        "nft",
    ],
)
def test_functional_tests_with_few_capabilities(name: str, environment: dict[str, str]) -> None:
    """They pass where retis is another user with four capabilities, and the rest is root's."""
    if name == "nft":
        capabilities.require("kprobes")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", SELECTED),
            f"tests/functional/test_{name}.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[0-9]+ passed", done.stdout), done.stdout


# What is left of them


def sets(pid: int) -> list[dict[str, int]]:
    """The capabilities of each thread of a process, and whether they may come back."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (line.partition(":") for line in (task / "status").read_text().splitlines())
        wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
        found.append({name: int(value, 16) for name, _, value in lines if name in wanted})
    return found


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def decoder_of(running: cli.Running) -> int:
    """The process that decodes: the one child that is a Python, too."""
    [pid] = [
        child
        for child in children(running.process.pid)
        if Path(f"/proc/{child}/exe").readlink() == Path("/proc/self/exe").readlink()
    ]
    return pid


def mask(*held: Capability) -> int:
    return sum(1 << number for number in held)


# Memory that is locked, where there is a limit for it.
MEMORY = mask(Capability.IPC_LOCK)
NONE = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0, "NoNewPrivs": 1}


def left_of(*arguments: str | Path) -> tuple[int, int]:
    """What the collecting process, and the decoding one, of a root's collection go on with."""
    with cli.background(*arguments) as running:
        pid = running.process.pid
        wait_until(lambda: sets(pid)[0]["NoNewPrivs"] == 1, "privileges given up", 60.0)
        [collecting] = sets(pid)
        [decoding] = sets(decoder_of(running))
        assert running.stop().exit_code == 0
    for found in (collecting, decoding):
        assert found == {**NONE, "CapPrm": found["CapPrm"], "CapEff": found["CapPrm"]}
    return collecting["CapEff"] & ~MEMORY, decoding["CapEff"]


def test_root_goes_on_with_none(tmp_path: Path) -> None:
    assert left_of("-p", "dropmon", "collect", "-o", tmp_path / "out") == (0, 0)


@fast_machine_only
def test_text_with_stacks(tmp_path: Path) -> None:
    """Addresses are resolved by what was opened before."""
    with cli.background("-p", "dropmon", "collect", "--print", "-o", tmp_path / "out") as running:
        wait_until(lambda: sets(decoder_of(running))[0] == NONE, "none left", 60.0)
        subprocess.run(["python3", "-c", DROPPED], check=True)
        wait_until(lambda: "skb:kfree_skb" in running.output(), "an event", 60.0)
        result = running.stop()
    assert result.exit_code == 0
    assert re.search(r"^ +\w+\+0x[0-9a-f]+$", result.stdout, re.MULTILINE), result.stdout
    assert "unresolved" not in result.stderr


@fast_machine_only
def test_command_keeps_roots_privileges(tmp_path: Path) -> None:
    """And may become another user's: it is told to end all the same."""
    status = tmp_path / "status"
    become = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups sleep 1000"
    command = f"grep CapEff /proc/self/status > {status}.new; mv {status}.new {status}; {become}"
    with cli.background(
        "-p", "dropmon", "collect", "-o", tmp_path / "out", "--cmd", command
    ) as running:
        wait_until(status.exists, "the command", 60.0)
        wait_until(lambda: sets(running.process.pid)[0]["NoNewPrivs"] == 1, "given up", 60.0)
        assert sets(running.process.pid)[0]["CapEff"] & ~MEMORY == mask(Capability.KILL)
        result = running.stop(signal.SIGTERM)
    assert result.exit_code == 0
    assert "Command ended by SIGTERM" in result.stderr
    assert status.read_text() == f"CapEff:\t{own_capabilities()}\n"


def own_capabilities() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("CapEff"))


def test_table_of_nftables(tmp_path: Path, kprobes: None) -> None:
    """It goes with its socket, which takes no privilege."""
    subprocess.run(["modprobe", "--quiet", "nf_tables"], check=False)  # built in here
    arguments = ("collect", "-c", "skb,nft", "--allow-system-changes", "-o", tmp_path / "out")
    assert left_of(*arguments) == (0, 0)
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, check=True)
    assert b"Retis_Table" not in tables.stdout


def test_functions_that_show_in_stacks(tmp_path: Path, kprobes: None) -> None:
    arguments = ("collect", "--probe-stack", "-f", "udp port 9", "-o", tmp_path / "out")
    attaching = mask(Capability.BPF, Capability.PERFMON, Capability.SYSLOG)
    if int(PARANOID.read_text()) > 2:
        attaching |= mask(Capability.SYS_ADMIN)
    assert left_of(*arguments) == (attaching, 0)


@fast_machine_only
def test_four_capabilities_go_too() -> None:
    with temporary_path() as path:
        unprivileged.let_in(path.parent)
        words = [*unprivileged.prefix(), sys.executable, "-m", "retis_py", "-p", "dropmon"]
        ready = path.with_name("ready")
        command = [*words, "collect", "-o", str(path), "--ready-file", str(ready)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            wait_until(ready.exists, "retis", 120.0)
            wait_until(lambda: sets(process.pid)[0]["NoNewPrivs"] == 1, "given up", 60.0)
            [decoder] = children(process.pid)
            four = mask(Capability.BPF, Capability.PERFMON, Capability.NET_ADMIN, Capability.SYSLOG)
            for pid in (process.pid, decoder):
                # A user may not empty it, and gets nothing from it.
                assert sets(pid) == [{**NONE, "CapBnd": four}]
            process.send_signal(signal.SIGINT)
            assert process.wait(120.0) == 0
        finally:
            process.kill()
            process.wait()
        assert path.stat().st_uid == NOBODY


# Files


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    monkeypatch.setenv("SUDO_GID", str(NOBODY))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder that is another user's alone."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    yield folder


def whose(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


DROPPED = "from socket import *; socket(AF_INET, SOCK_DGRAM).sendto(b'x' * 900, ('127.0.0.1', 9))"
SEND = f"python3 -c {shlex.quote(f'for _ in range(20): exec({DROPPED!r})')}"


@fast_machine_only
def test_files_are_the_calling_users(home: Path, sudo: None) -> None:
    """In that user's folder, where root without its privileges may not write."""
    out = home / "out"
    with cli.background("-p", "dropmon", "collect", "-o", out) as running:
        assert whose(out) == whose(home / "out.spool") == (NOBODY, NOBODY, 0o600)
        assert running.stop().exit_code == 0
    assert [path.name for path in home.iterdir()] == ["out"]
    assert cli.retis("sort", out, "-o", home / "sorted").exit_code == 0
    assert whose(home / "sorted") == (NOBODY, NOBODY, 0o600)


@fast_machine_only
def test_rotated_files_are_the_calling_users(home: Path, sudo: None) -> None:
    arguments = ("-p", "dropmon", "collect", "-o", home / "out", "--out-rotate", "4kB")
    result = cli.retis(*arguments, "--cmd", SEND)
    assert result.exit_code == 0, result.stderr
    assert len(list(home.iterdir())) > 2
    assert {whose(path) for path in home.iterdir()} == {(NOBODY, NOBODY, 0o600)}


@fast_machine_only
def test_link_in_a_shared_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "victim").write_text("precious")
    link = tmp_path / "shared" / "out"
    link.symlink_to(tmp_path / "victim")
    result = cli.retis("-p", "dropmon", "collect", "-o", link, "--cmd", "true")
    assert result.exit_code == 1
    [line] = [line for line in result.stderr.splitlines() if "[" not in line[9:15]]
    assert line == (
        f"Error: cannot create {link}: it is a symbolic link in a folder that everybody may write"
        " to, which is not followed: remove it, or name another"
    )
    assert (tmp_path / "victim").read_text() == "precious"


@fast_machine_only
@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout"])
def test_devices(name: str) -> None:
    result = cli.retis("-p", "dropmon", "collect", "-o", name, "--cmd", "true")
    assert result.exit_code == 0, result.stderr
    if name == "/dev/stdout":
        assert "startup" in json.loads(result.stdout.splitlines()[0])


@fast_machine_only
def test_installed_where_only_the_user_may_look(home: Path) -> None:
    """What is imported late is there when root can no longer look."""
    for name in ("retis_py", "bpf", "profiles"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (home, *home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o700)
    result = cli.retis(
        *("-p", "dropmon", "collect", "--print", "-o", "out", "--cmd", SEND),
        cwd=home,
        environment={"PYTHONPATH": str(home)},
    )
    assert result.exit_code == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "skb:kfree_skb" in result.stdout
