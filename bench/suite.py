"""Runs the benchmarks one after the other; makes one report and one table of all limits.

A benchmark is a program in this folder that makes a Report, and takes --runs and --json FILE. It
ends with 0, with 1 if a limit is missed, or with 2 and a line that says why if it cannot run on
this machine; all else is a failure, after which the others run all the same.

    scripts/bench.sh [--only NAME]... [--quick] [--json FILE]

Exit code: 0, 1 if a limit is missed or a benchmark failed, 2 for a wrong command line.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from report import as_text

HERE = Path(__file__).parent

# What benchmarks are told that would take too long otherwise, or more than is needed for a look.
FULL = {"kernel": ("--packets", "20000")}
QUICK = {
    "capture": ("--runs", "1", "--seconds", "2"),
    "ct": ("--runs", "1", "--packets", "5000"),
    "decode": ("--runs", "1", "--events", "20000"),
    "filter": ("--runs", "1", "--packets", "5000"),
    "kernel": ("--runs", "1", "--packets", "5000"),
    "post": ("--runs", "1", "--events", "50000"),
}
QUICK_OTHERS = ("--runs", "1")

_TO_END = 60.0  # s, for a benchmark that is told to
_BENCHMARK = re.compile(r"""^from report import Report.*^if __name__ == "__main__":""", re.M | re.S)


class Outcome(StrEnum):
    """What became of a benchmark."""

    MEASURED = "measured"
    CANNOT_RUN = "cannot run here"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """Of one benchmark; ``why`` there are no figures, else its report as JSON."""

    name: str
    outcome: Outcome
    why: str = ""
    report: dict[str, Any] | None = None
    seconds: float = 0.0  # that it took

    @property
    def passed(self) -> bool | None:
        """Whether it kept its limits, None where it could not run."""
        if self.outcome is Outcome.CANNOT_RUN:
            return None
        return self.report is not None and bool(self.report["passed"])

    def as_dict(self) -> dict[str, Any]:
        """Built-in types by JSON key."""
        about: dict[str, Any] = {
            "name": self.name,
            "outcome": str(self.outcome),
            "passed": self.passed,
        }
        about["seconds"] = round(self.seconds, 1)
        return about | ({"report": self.report} if self.report else {"why": self.why})


def main() -> int:
    """Run them; return the exit code."""
    options = _parse_arguments()
    results = []
    for name in options.names:
        print(f"== {name}", flush=True)
        path = options.folder / f"{name}.py"
        start = time.monotonic()
        try:
            result = run(path, _arguments(name, quick=options.quick), options.patience)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        results.append(replace(result, seconds=time.monotonic() - start))
    passed = all(result.passed is not False for result in results)
    whole = {
        "passed": passed,
        "quick": options.quick,
        "benchmarks": [result.as_dict() for result in results],
    }
    took = sum(result.seconds for result in results)
    print(f"\n== all, {took / 60:.1f} minutes\n{table(results)}")
    if options.quick:
        print("Few runs (--quick): these figures are not to be quoted.")
    try:
        options.json.write_text(json.dumps(whole, indent=2) + "\n")
    except OSError as error:
        print(f"bench: cannot write the report {options.json}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Report: {options.json}")
    return 0 if passed else 1


def run(path: Path, arguments: Sequence[str], patience: float) -> Result:
    """Run a benchmark, whose output goes where ours goes; it has failed after ``patience`` (s)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        with subprocess.Popen(
            [sys.executable, str(path), *arguments, "--json", str(report)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # What is measured is this checkout, and what benchmarks share is found from any folder.
            env=os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}"},
        ) as process:
            messages, in_time = _wait(process, patience)
        if messages:
            print(messages, file=sys.stderr, flush=True)
        found = json.loads(report.read_bytes()) if report.exists() else None
    if not in_time:
        return Result(path.stem, Outcome.FAILED, f"did not end within {patience:,.0f} s")
    if process.returncode in (0, 1) and found:
        return Result(path.stem, Outcome.MEASURED, report=found)
    why = messages.splitlines()[-1] if messages else f"ended with {process.returncode}"
    outcome = Outcome.CANNOT_RUN if process.returncode == 2 else Outcome.FAILED
    return Result(path.stem, outcome, why)


def _wait(process: "subprocess.Popen[bytes]", patience: float) -> tuple[str, bool]:
    """Return what it said, and whether it ended by itself."""
    in_time = True
    try:
        messages = process.communicate(timeout=patience)[1]
    except subprocess.TimeoutExpired:
        in_time = False
        process.send_signal(signal.SIGINT)  # Python tidies up
        try:
            messages = process.communicate(timeout=_TO_END)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            messages = process.communicate()[1]
    return messages.decode(errors="replace").strip(), in_time


def table(results: Sequence[Result]) -> str:
    """Return all limits with what was measured, and what was not."""
    header = ("", "", "median", "limit", "")
    lines = [header, *(line for result in results for line in _lines(result))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _lines(result: Result) -> Iterator[tuple[str, ...]]:
    if result.report is None:
        yield result.name, f"{result.outcome}: {result.why}", "", "", _verdict(result.passed)
        return
    thing, limits = "", 0
    for row in result.report["rows"]:
        name = row["name"]
        thing, name = (thing, f"{thing}: {name.strip()}") if name.startswith(" ") else (name, name)
        if row["limit"] is not None:
            limits += 1
            numbers = (as_text(row[key], row["unit"]) for key in ("median", "limit"))
            yield result.name, name, *numbers, _verdict(row["passed"])
    if not limits:
        yield result.name, f"{len(result.report['rows'])} figures, no limits", "", "", ""


def _verdict(passed: bool | None) -> str:
    return {True: "pass", False: "FAIL", None: "skipped"}[passed]


def _arguments(name: str, *, quick: bool) -> Sequence[str]:
    return QUICK.get(name, QUICK_OTHERS) if quick else FULL.get(name, ())


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Run benchmarks, all by default.")
    parser.add_argument("--only", action="append", metavar="NAME", help="run this; repeatable")
    parser.add_argument("--quick", action="store_true", help="few runs, figures not to be quoted")
    parser.add_argument("--json", type=Path, metavar="FILE", help="report [bench/report.json]")
    parser.add_argument("--folder", type=Path, default=HERE, help="of the benchmarks")
    parser.add_argument("--patience", type=float, default=3600.0, help="s for each [3600]")
    options = parser.parse_args()
    options.json = options.json or options.folder / "report.json"
    if not options.json.absolute().parent.is_dir():
        parser.error(f"there is no folder for the report {options.json}")
    paths = options.folder.glob("*.py")
    known = sorted(path.stem for path in paths if _BENCHMARK.search(path.read_text()))
    options.names = list(dict.fromkeys(options.only or known))
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"--only {unknown[0]} is none of {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
