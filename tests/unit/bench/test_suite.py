"""Benchmarks run one after the other, their reports put together: small ones that really run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SUITE = Path(__file__).parents[3] / "bench" / "suite.py"

SCRIPT = """
import argparse, sys
from pathlib import Path
from report import Report, Row

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    {body}

if __name__ == "__main__":
    sys.exit(main())
"""
MEASURES = """
    report = Report({name!r})
    report.rows.append(Row("thing", "us", [{value}] * options.runs))
    report.rows.append(Row("  of it, slow", "us", [{value}] * options.runs, 4.0))
    return report.finish(options.json)
"""


def add(folder: Path, name: str, body: str) -> None:
    (folder / f"{name}.py").write_text(SCRIPT.format(body=body.strip()))


def add_measuring(folder: Path, name: str, value: float) -> None:
    add(folder, name, MEASURES.format(name=name, value=value))


def bench(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SUITE), "--folder", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def last_table(output: str) -> list[list[str]]:
    """The cells of the lines of the table at the end."""
    lines = output.split("== all, ")[1].splitlines()[1:]
    return [line.split() for line in lines]


def test_all_pass(tmp_path: Path) -> None:
    add_measuring(tmp_path, "one", 1.5)
    add_measuring(tmp_path, "two", 4.0)
    (tmp_path / "helper.py").write_text("raise SystemExit('no benchmark')\n")
    # It is started by a benchmark and makes no report.
    (tmp_path / "sender.py").write_text('if __name__ == "__main__":\n    raise SystemExit(1)\n')
    done = bench(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = report(tmp_path)
    assert found["passed"]
    assert not found["quick"]
    assert [(b["name"], b["outcome"]) for b in found["benchmarks"]] == [
        ("one", "measured"),
        ("two", "measured"),
    ]
    assert [row["values"] for row in found["benchmarks"][0]["report"]["rows"]] == [[1.5] * 3] * 2
    assert last_table(done.stdout)[1:3] == [
        ["one", "thing:", "of", "it,", "slow", "1.500", "us", "4.000", "us", "pass"],
        ["two", "thing:", "of", "it,", "slow", "4.000", "us", "4.000", "us", "pass"],
    ]


def test_a_limit_is_missed(tmp_path: Path) -> None:
    add_measuring(tmp_path, "fast", 1.0)
    add_measuring(tmp_path, "slow", 4.5)
    done = bench(tmp_path)
    assert done.returncode == 1
    found = report(tmp_path)
    assert [found["passed"], *(b["passed"] for b in found["benchmarks"])] == [False, True, False]
    assert [line[-1] for line in last_table(done.stdout)[1:3]] == ["pass", "FAIL"]


@pytest.mark.parametrize(
    ("body", "outcome", "why", "code"),
    [
        (
            "print('cannot: needs root', file=sys.stderr); return 2",
            "cannot run here",
            "cannot: needs root",
            0,
        ),
        ("raise OSError('no such thing')", "failed", "OSError: no such thing", 1),
        ("import os; os.abort()", "failed", "ended with -6", 1),
        ("return 0", "failed", "ended with 0", 1),  # and has written no report
        ("return 1", "failed", "ended with 1", 1),
    ],
)
def test_others_go_on(tmp_path: Path, body: str, outcome: str, why: str, code: int) -> None:
    add(tmp_path, "bad", body)
    add_measuring(tmp_path, "good", 1.0)
    done = bench(tmp_path)
    assert done.returncode == code
    bad, good = report(tmp_path)["benchmarks"]
    assert (bad["outcome"], bad["why"], bad["passed"]) == (
        outcome,
        why,
        None if code == 0 else False,
    )
    assert good["passed"]
    assert f"{outcome}: {why}" in done.stdout
    assert last_table(done.stdout)[1][-1] == ("skipped" if code == 0 else "FAIL")


def test_a_failure_after_the_report(tmp_path: Path) -> None:
    add(tmp_path, "late", 'report = Report("late"); report.finish(options.json); return 3')
    assert bench(tmp_path).returncode == 1
    assert report(tmp_path)["benchmarks"][0]["outcome"] == "failed"


def test_a_benchmark_that_hangs_may_tidy_up(tmp_path: Path) -> None:
    body = f"""
    import time
    try:
        time.sleep(60)
    finally:
        Path({str(tmp_path / "tidy")!r}).touch()
    """
    add(tmp_path, "hangs", body)
    add_measuring(tmp_path, "other", 1.0)
    assert bench(tmp_path, "--patience", "3").returncode == 1
    hangs, other = report(tmp_path)["benchmarks"]
    assert (hangs["outcome"], other["outcome"]) == ("failed", "measured")
    assert (tmp_path / "tidy").exists()


def test_only(tmp_path: Path) -> None:
    for name in "abc":
        add_measuring(tmp_path, name, 1.0)
    done = bench(tmp_path, "--only", "c", "--only", "a", "--json", str(tmp_path / "mine.json"))
    assert done.returncode == 0
    assert not (tmp_path / "report.json").exists()
    found = json.loads((tmp_path / "mine.json").read_text())
    assert [b["name"] for b in found["benchmarks"]] == ["c", "a"]


def test_quick(tmp_path: Path) -> None:
    add_measuring(tmp_path, "one", 1.0)
    done = bench(tmp_path, "--quick")
    assert "not to be quoted" in done.stdout
    found = report(tmp_path)
    assert found["quick"]
    assert found["benchmarks"][0]["report"]["rows"][0]["values"] == [1.0]


def test_no_limits(tmp_path: Path) -> None:
    body = 'report = Report("x"); report.rows.append(Row("a", "ns", [1])); '
    add(tmp_path, "free", body + "return report.finish(options.json)")
    done = bench(tmp_path)
    assert done.returncode == 0
    assert "1 figures, no limits" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "three"], "--only three is none of one"),
        (["--json", "/nowhere/at/all.json"], "there is no folder for the report"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    add_measuring(tmp_path, "one", 1.0)
    done = bench(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_report_cannot_be_written(tmp_path: Path) -> None:
    add_measuring(tmp_path, "one", 1.0)
    (tmp_path / "report.json").mkdir()
    done = bench(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("bench: cannot write the report ")


def test_our_benchmarks_are_found() -> None:
    done = subprocess.run(
        [sys.executable, str(SUITE), "--only", "?"], capture_output=True, text=True, check=False
    )
    names = done.stderr.partition("is none of ")[2].strip().split(", ")
    assert {"ct", "decode", "filter", "kernel", "post", "startup"} <= {*names}
    assert not {"suite", "report", "programs", "flood", "synthetic"} & {*names}
