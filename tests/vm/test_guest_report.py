"""What is read back from a guest's pytest, here a pytest on this machine."""

import subprocess
import sys
from pathlib import Path

from vm import guest_report

TESTS = """
import pytest

def test_good():
    print("captured")

def test_bad():
    assert 1 == 2

@pytest.fixture
def broken():
    raise OSError("no such thing")

def test_error(broken):
    pass

def test_left_out():
    pytest.skip("kprobes: none")
"""


def test_outcomes(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    junit = tmp_path / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={junit}", "--rootdir=."]
    run = subprocess.run([*command, "."], cwd=tmp_path, capture_output=True, check=False)
    assert run.returncode == 1
    tests = {test.name.partition("::")[2]: test for test in guest_report.read(junit, "6.1.0")}
    assert {name: test.outcome for name, test in tests.items()} == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_error": "failed",
        "test_left_out": "skipped",
    }
    assert "1 == 2" in tests["test_bad"].reason
    assert "kprobes: none" in tests["test_left_out"].reason
    assert tests["test_good"].kernel == "6.1.0"
