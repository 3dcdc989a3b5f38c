"""All targets, each for its share of the time, as many at once as there are CPUs.

    python tests/fuzz/session.py [--seconds S] [--only NAME]... [--folder DIR]

Inputs that lead somewhere new are kept in the folder for the next time. What something is found
with is made smaller and kept in its findings/, with how to repeat it; then the exit code is 1.
"""

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

from fuzz.target import NEED_COMPILER, SANITIZED, TARGETS

_GUIDED = importlib.util.find_spec("atheris") is not None
_PROGRAM = ROOT / "tests/fuzz/run_target.py"
_NATIVE = ROOT / "retis_py/native"
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
_STARTS_WITHIN = 60.0  # s: a program that is compiled, a CPU that is shared


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a target: how many inputs it was given, and a finding's file or reason."""

    name: str
    inputs: int
    seconds: float
    finding: Path | None = None
    log: str = ""


def main() -> int:
    """See the module."""
    options = _parse_arguments()
    if not _GUIDED:
        print("fuzz: there is no atheris, so that inputs are made blindly and find less")
    folder: Path = options.folder.absolute()
    (folder / "findings").mkdir(parents=True, exist_ok=True)
    names = options.only or list(TARGETS)
    if shutil.which("cc") is None:
        print(f"fuzz: there is no C compiler, without: {', '.join(sorted(NEED_COMPILER))}")
        names = [name for name in names if name not in NEED_COMPILER]
    jobs = len(os.sched_getaffinity(0))
    unit = options.seconds * min(jobs, len(names)) / sum(TARGETS[name] for name in names)
    memory = Path("/dev/shm")  # files of an input each; disks are slow
    with tempfile.TemporaryDirectory(
        prefix="retis-fuzz-", dir=memory if os.access(memory, os.W_OK) else None
    ) as temporary:
        library = Path(temporary) / "sanitized.so"
        if SANITIZED.keys() & {*names}:
            _compile(library)
        with ThreadPoolExecutor(jobs) as pool:
            runs = [
                pool.submit(_fuzz, name, TARGETS[name] * unit, folder, library)
                for name in sorted(names, key=lambda name: -TARGETS[name])
            ]
            ended = [run.result() for run in runs]
        return _report(ended, library)


def _compile(library: Path) -> None:
    sources = sorted(map(str, _NATIVE.glob("*.c")))
    options = ["-std=c11", "-D_DEFAULT_SOURCE", "-fPIC", "-shared", *_SANITIZERS]
    subprocess.run(["cc", *options, "-o", str(library), *sources], check=True)


def _environment(name: str, library: Path) -> dict[str, str]:
    """Return what to add to the environment for a target."""
    if name not in SANITIZED:
        return {}
    asked = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    )
    return {
        "LD_PRELOAD": asked.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "PYTHONMALLOC": "malloc",
        "RETIS_FUZZ_LIBRARY": str(library),
    }


def _fuzz(name: str, seconds: float, folder: Path, library: Path) -> Ended:
    findings = folder / "findings"
    before = {*findings.iterdir()}
    command = [sys.executable, str(_PROGRAM), name]
    temporary = str(library.parent)
    own = {"TMPDIR": temporary, "XDG_CACHE_HOME": temporary}
    environment = os.environ | _environment(name, library) | own
    begun = time.monotonic()
    corpus = folder / SANITIZED.get(name, name)
    words = [f"--seconds={seconds}", f"--corpus={corpus}", f"--findings={findings}"]
    if name in SANITIZED or not _GUIDED:
        words.append("--blind")
    try:
        done = subprocess.run(
            [*command, *words],
            env=environment,
            cwd=library.parent,
            capture_output=True,
            check=False,
            timeout=seconds + _STARTS_WITHIN,
        )
        log, code = (done.stdout + done.stderr).decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as error:
        log, code = f"{(error.stderr or b'').decode(errors='replace')}\nit does not end", 1
    took = time.monotonic() - begun
    counted = re.findall(r"stat::number_of_executed_units:\s+(\d+)", log)
    inputs = int(counted[-1]) if counted else 0
    new = [path for path in findings.iterdir() if path not in before and path.name.startswith(name)]
    if code == 0 and inputs and not new:
        return Ended(name, inputs, took)
    for path in new:
        subprocess.run(
            [*command, "--reduce", str(path)], env=environment, capture_output=True, check=False
        )
    return Ended(name, inputs, took, new[0] if new else None, log or f"exit code {code}")


def _report(ended: Sequence[Ended], library: Path) -> int:
    failed = [each for each in ended if each.log]
    for each in sorted(ended, key=lambda each: list(TARGETS).index(each.name)):
        found = "something was found" if each.log else "nothing found"
        print(f"{each.name:<18}{each.inputs:>12,} inputs {each.seconds:>7.1f} s  {found}")
    print(f"{'all':<18}{sum(each.inputs for each in ended):>12,} inputs")
    for each in failed:
        print(f"\n{each.name}:\n{_end_of(each.log)}")
        if each.finding is not None:
            print(f"input, made smaller: {each.finding.read_bytes()!r:.2000}")
            for line in _how_to_repeat(each, library):
                print(f"  {line}")
    return int(bool(failed))


def _how_to_repeat(ended: Ended, library: Path) -> list[str]:
    words = ["tests/fuzz/run_target.py", ended.name, str(ended.finding)]
    if ended.name not in SANITIZED:
        return [shlex.join([".venv/bin/python", *words])]
    native = f"-std=c11 -D_DEFAULT_SOURCE -fPIC -shared {' '.join(_SANITIZERS)}"
    kept = f"/tmp/{library.name}"
    values = _environment(ended.name, Path(kept)).items()
    return [
        f"cc {native} -o {kept} retis_py/native/*.c",
        shlex.join(["env", *(f"{k}={v}" for k, v in values), ".venv/bin/python", *words]),
    ]


def _end_of(log: str) -> str:
    """Return what was found, without libFuzzer's progress."""
    lines = [line for line in log.splitlines() if not re.match(r"#\d+\s|INFO:|stat::", line)]
    return "\n".join(lines[-40:])


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--only", action="append", choices=TARGETS)
    parser.add_argument("--folder", type=Path, default=ROOT / ".fuzz")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
