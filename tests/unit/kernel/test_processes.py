import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from retis_py.kernel.processes import Process, processes_of


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program whose name nothing else on this machine has."""
    path = tmp_path / f"retis-sleep-{os.getpid()}"
    shutil.copy("/bin/sleep", path)
    return path


@pytest.fixture
def running(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([str(program), "1000"]) as process:
        try:
            yield process
        finally:
            process.kill()


def only(program: Path) -> Process:
    [found] = processes_of(program.name)
    return found


def test_process_is_found(program: Path, running: subprocess.Popen[bytes]) -> None:
    found = only(program)
    assert found.pid == running.pid
    assert found.executable == str(program)
    assert found.is_alive()
    assert found.file.name == str(program)
    assert found.file.path.read_bytes() == program.read_bytes()


def test_several_are_in_the_order_of_their_ids(
    program: Path, running: subprocess.Popen[bytes]
) -> None:
    with subprocess.Popen([str(program), "1000"]) as second:
        pids = [process.pid for process in processes_of(program.name)]
        second.kill()
    assert pids == sorted([running.pid, second.pid])


def test_ended_process_is_gone(program: Path, running: subprocess.Popen[bytes]) -> None:
    found = only(program)
    running.kill()
    os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert not found.is_alive()
    assert processes_of(program.name) == []
    running.wait()
    assert not found.is_alive()
    assert found.code_files() == []


def test_another_process_with_the_same_number_is_another(
    program: Path, running: subprocess.Popen[bytes]
) -> None:
    found = only(program)
    earlier = Process(found.pid, found.executable, found.start_time - 1, found.folder)
    assert not earlier.is_alive()


def test_libraries_are_among_the_files(program: Path, running: subprocess.Popen[bytes]) -> None:
    files = {file.name: file.path for file in only(program).code_files()}
    assert str(program) in files
    [libc] = [name for name in files if "/libc.so" in name or "/libc-" in name]
    assert files[libc].read_bytes() == Path(libc).read_bytes()
    assert all(path.read_bytes().startswith(b"\x7fELF") for path in files.values())
    assert len(files) == len(set(files.values()))


def test_program_that_was_replaced(program: Path, running: subprocess.Popen[bytes]) -> None:
    old = program.read_bytes()
    program.unlink()
    program.write_bytes(b"another")
    found = only(program)
    assert found.executable == str(program)
    assert found.file.path.read_bytes() == old
    assert str(program) in {file.name for file in found.code_files()}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_mount_namespace_of_its_own(program: Path, tmp_path: Path) -> None:
    """Its library is at a path that for us is another file, or none."""
    inside = tmp_path / "inside"
    inside.mkdir()
    copied = f"mount -t tmpfs none {inside} && cp {program} {inside}"
    script = f"{copied} && echo && exec {inside}/{program.name} 1000"
    command = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            found = wait_for(program)
            assert not Path(found.executable).exists()
            assert found.executable == str(inside / program.name)
            assert found.file.path.read_bytes() == program.read_bytes()
            paths = [f.path.read_bytes()[:4] for f in found.code_files()]
            assert paths
            assert set(paths) == {b"\x7fELF"}
        finally:
            process.kill()


def wait_for(program: Path) -> Process:
    while not (found := processes_of(program.name)):  # until exec; pytest ends this after a time
        os.sched_yield()
    return found[0]


def test_fields_of_stat_after_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "proc" / "12"
    folder.mkdir(parents=True)
    (folder / "exe").symlink_to("/usr/sbin/ovs-vswitchd (deleted)")
    fields = ["S", *(str(n) for n in range(4, 53))]
    (folder / "stat").write_bytes(b"12 (a) Z 1 (\xff) " + " ".join(fields).encode() + b"\n")
    (tmp_path / "proc" / "self").symlink_to("12")
    (tmp_path / "proc" / "13").mkdir()
    [found] = processes_of("ovs-vswitchd", tmp_path)
    assert found == Process(12, "/usr/sbin/ovs-vswitchd", 22, folder)
