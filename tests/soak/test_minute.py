"""A minute of fuzzing and a minute of soaking, at once: neither needs the machine to be quiet."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.target import TARGETS
from lab import capabilities

SECONDS = 60
TESTS = Path(__file__).parents[1]
BEHIND = ("nice", "-n", "5")  # it takes all CPUs, and others run tests


@pytest.mark.timeout(300)
def test_a_minute_of_each(tmp_path: Path) -> None:
    capabilities.require("root")
    capabilities.require("btf")

    def start(program: str, *prefix: str) -> "subprocess.Popen[str]":
        command = [*prefix, sys.executable, str(TESTS / program), "--seconds", str(SECONDS)]
        return subprocess.Popen(
            [*command, "--folder", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    with start("soak/session.py") as soak, start("fuzz/session.py", *BEHIND) as fuzz:
        soaked, fuzzed = soak.communicate()[0], fuzz.communicate()[0]
    assert fuzz.returncode == 0, fuzzed
    counts = dict(re.findall(r"^(\w+) +([\d,]+) inputs", fuzzed, re.MULTILINE))
    assert counts.keys() == {*TARGETS, "all"}
    assert int(counts["all"].replace(",", "")) > 1000, fuzzed
    assert soak.returncode == 0, soaked
    assert re.search(r"[1-9][\d,]+ datagrams sent, [1-9][\d,]+ received", soaked), soaked
