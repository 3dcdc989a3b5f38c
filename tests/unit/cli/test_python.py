"""``retis python`` as a person runs it: scripts, programs on standard input, the shell."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"
EVENTS = DATA / "test_events.json"
RETIS = [sys.executable, "-m", "retis_py", "python"]
NO_SCRIPT = (
    "no script 'nosuch': there is no such file, nor 'nosuch.py' in"
    " {home}/.config/retis/python or /usr/share/retis/python"
)
COUNT = "print(len(list(reader.events())))"


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home), "TERM": "dumb"}


def retis_python(
    *arguments: str | Path, cwd: Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RETIS, *arguments],
        input=stdin.decode(),
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment(cwd),
        check=False,
        timeout=60,
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_script(tmp_path: Path) -> None:
    write(tmp_path / "lib" / "beside.py", "NAME = 'beside'")
    script = write(
        tmp_path / "lib" / "script.py",
        "import sys, __main__, beside\n"
        "print(__name__, __file__, sys.argv[1:], beside.NAME, __main__.reader is reader)\n" + COUNT,
    )
    run = retis_python("-i", EVENTS, script, "-i", "x", "--help", "-", cwd=tmp_path)
    assert run.stderr == ""
    assert run.stdout == f"__main__ {script} ['-i', 'x', '--help', '-'] beside True\n5\n"
    assert run.returncode == 0


@pytest.mark.parametrize("name", ["latency", "latency.py"])
def test_a_script_by_name(name: str, tmp_path: Path) -> None:
    write(tmp_path / ".config/retis/python/latency.py", "import sys; print(sys.argv)")
    (tmp_path / "latency").mkdir()  # a folder is no script
    run = retis_python("-i", EVENTS, name, "1", cwd=tmp_path)
    assert (run.stdout, run.stderr) == (f"['{name}', '1']\n", "")
    write(tmp_path / "latency.py", "print('nearer')")
    run = retis_python("-i", EVENTS, name, cwd=tmp_path)
    assert run.stdout == ("nearer\n" if name == "latency.py" else "['latency']\n")


@pytest.mark.parametrize("argument", [[], ["-"]])
def test_a_program_on_standard_input(argument: list[str], tmp_path: Path) -> None:
    run = retis_python("-i", EVENTS, *argument, cwd=tmp_path, stdin=COUNT.encode())
    assert (run.returncode, run.stdout, run.stderr) == (0, "5\n", "")


def test_events_on_standard_input(tmp_path: Path) -> None:
    script = write(tmp_path / "count.py", COUNT)
    run = retis_python("-i", "-", script, cwd=tmp_path, stdin=EVENTS.read_bytes())
    assert (run.returncode, run.stdout, run.stderr) == (0, "5\n", "")
    run = retis_python("-i", "-", cwd=tmp_path, stdin=EVENTS.read_bytes())
    assert run.returncode == 2
    assert run.stderr == ("Error: the events come from the standard input: name a SCRIPT to run\n")


def test_inputs(tmp_path: Path) -> None:
    script = write(tmp_path / "count.py", COUNT)
    for name in ("retis.data.0", "retis.data.1", "retis.data.2"):
        write(tmp_path / name, EVENTS.read_text())
    assert retis_python(script, cwd=tmp_path).stdout == "15\n"
    assert retis_python("-i", "retis.data.1..", script, cwd=tmp_path).stdout == "10\n"
    assert retis_python("-i", "retis.data.1", script, cwd=tmp_path).stdout == "5\n"
    write(tmp_path / "retis.data", EVENTS.read_text())
    assert retis_python(script, cwd=tmp_path).stdout == "5\n"


def test_an_exception_is_the_scripts_own(tmp_path: Path) -> None:
    script = write(tmp_path / "s.py", "def f():\n    return 1 / 0\nprint('first')\nf()\n")
    run = retis_python("-i", EVENTS, script, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (1, "first\n")
    lines = run.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{script}", line 4, in <module>'
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "retis_py" not in run.stderr


def test_a_syntax_error_is_the_scripts_own(tmp_path: Path) -> None:
    run = retis_python("-i", EVENTS, cwd=tmp_path, stdin=b"print(\n")
    assert run.returncode == 1
    assert run.stderr.startswith('  File "<stdin>", line 1\n')
    assert "SyntaxError" in run.stderr


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [("", 0, ""), ("0", 0, ""), ("3", 3, ""), ("None", 0, ""), ("'so it is'", 1, "so it is\n")],
)
def test_exit_codes(end: str, code: int, said: str, tmp_path: Path) -> None:
    run = retis_python("-i", EVENTS, cwd=tmp_path, stdin=f"import sys; sys.exit({end})".encode())
    assert (run.returncode, run.stdout, run.stderr) == (code, "", said)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["-i", EVENTS, "nosuch"],
            2,
            NO_SCRIPT,
        ),
        (["-i", EVENTS, "./nosuch"], 2, "no script './nosuch': there is no such file"),
        (["-i", EVENTS, "/"], 2, "no script '/': it is a directory"),
        (
            ["-i", "nosuch"],
            1,
            "cannot read nosuch: no such file; collect events into it first",
        ),
        (["-i", os.devnull], 1, "/dev/null is empty; it holds no events"),
    ],
)
def test_errors(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    run = retis_python(*arguments, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (code, "")
    assert run.stderr == f"Error: {said.format(home=tmp_path)}\n"


def test_damage_in_the_middle_is_one_line(tmp_path: Path) -> None:
    lines = EVENTS.read_text().splitlines(keepends=True)
    write(tmp_path / "retis.data", "".join([*lines[:2], "garbage\n", *lines[2:]]))
    run = retis_python(cwd=tmp_path, stdin=COUNT.encode())
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert run.stderr.startswith("Error: retis.data: line 3 (byte ")


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    script = write(tmp_path / "many.py", "for i in range(100_000): print(i)")
    with subprocess.Popen(
        [*RETIS, "-i", EVENTS, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_another_broken_pipe_is_an_exception(tmp_path: Path) -> None:
    run = retis_python("-i", EVENTS, cwd=tmp_path, stdin=b"raise BrokenPipeError(32, 'theirs')")
    assert run.returncode == 1
    assert run.stderr.endswith("BrokenPipeError: [Errno 32] theirs\n")


def test_interrupted(tmp_path: Path) -> None:
    program = b"import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    run = retis_python("-i", EVENTS, cwd=tmp_path, stdin=program)
    assert (run.returncode, run.stderr) == (128 + signal.SIGINT, "")


class Shell:
    """An interactive shell on a pseudo-terminal of its own."""

    def __init__(self, file: Path, home: Path) -> None:
        self._outer, inner = pty.openpty()
        self.process = subprocess.Popen(
            [*RETIS, "-i", file],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=environment(home) | {"TERM": "xterm"},
            start_new_session=True,
            # Its controlling terminal, or Ctrl-C would be no signal.
            preexec_fn=lambda: fcntl.ioctl(inner, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(inner)
        self.shown = ""

    def until(self, text: str, seconds: float = 30) -> str:
        """Return what is shown until ``text``, that included, since the last call."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            ready, _, _ = select.select([self._outer], [], [], deadline - time.monotonic())
            assert ready, f"no {text!r} in {self.shown!r}"
            try:
                self.shown += os.read(self._outer, 4096).decode()
            except OSError:  # EIO: the shell is gone
                break
        before, found, self.shown = self.shown.partition(text)
        return before + found

    def type(self, text: str) -> None:
        os.write(self._outer, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._outer)


@pytest.mark.parametrize("end", ["\x04", "exit(0)\r"])
def test_a_shell(end: str, tmp_path: Path) -> None:
    shell = Shell(DATA / "test_events_packets.json", tmp_path)
    try:
        banner = shell.until(">>> ")
        assert "'reader' is " in banner
        assert "for event in reader.events()" in banner
        shell.type("reader.sor\t\r")  # completed
        assert "reader.sorted()" in (shown := shell.until(">>> "))
        assert "False" in shown
        shell.type("1 / 0\r")
        assert "ZeroDivisionError" in shell.until(">>> ")
        shell.type("list(reader.events())[-1].packet.to_scapy().summary()\r")
        assert "Ether / " in shell.until(">>> ")
        shell.type("print('un")
        shell.until("print('un")
        time.sleep(0.5)  # Python misses a signal between a key and its wait for the next one
        shell.type("\x03")  # takes back a line, and the shell goes on
        assert "KeyboardInterrupt" in shell.until(">>> ")
        shell.type(end)
        assert shell.process.wait(30) == 0
    finally:
        shell.close()
    assert "1 / 0" in (tmp_path / ".python_history").read_text()


def test_a_shell_on_a_sorted_file(tmp_path: Path) -> None:
    shell = Shell(DATA / "test_events_sorted.json", tmp_path)
    try:
        assert "for series in reader.series()" in shell.until(">>> ")
        shell.type("sum(1 for _ in reader.series()) * 1000\r")
        assert "4000" in shell.until(">>> ")
        shell.type("raise SystemExit(7)\r")
        assert shell.process.wait(30) == 7
    finally:
        shell.close()
