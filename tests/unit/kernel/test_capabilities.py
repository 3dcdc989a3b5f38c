"""Capabilities given up: in processes of their own, where they stay so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.kernel.capabilities import Capability, capability_name, effective

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def status_after(statements: str, *before: str) -> dict[str, int]:
    """The sets of capabilities, and NoNewPrivs, of a process that has run statements."""
    script = (
        f"from retis_py.kernel.capabilities import *\n{statements}\n"
        "print(open('/proc/self/status').read())"
    )
    done = subprocess.run(
        [*before, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    lines = (line.partition(":") for line in done.stdout.splitlines() if ":" in line)
    return {name: int(v, 16) for name, _, v in lines if name in (*SETS, "NoNewPrivs")}


@pytest.mark.parametrize(
    ("kept", "mask"), [("()", 0), ("(Capability.DAC_OVERRIDE, Capability.SYSLOG)", 2 | 1 << 34)]
)
def test_kept(kept: str, mask: int) -> None:
    require("root")
    status = status_after(f"keep_only({kept})")
    assert status == {**dict.fromkeys(SETS, 0), "CapEff": mask, "CapPrm": mask, "NoNewPrivs": 1}


def test_without_those_that_it_takes() -> None:
    """A user with two capabilities may not touch the bounding set, and keeps nothing else."""
    require("root")
    sets = [f"--{name}=-all,+bpf,+syslog" for name in ("inh-caps", "ambient-caps", "bounding-set")]
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *sets]
    both = 1 << Capability.BPF | 1 << Capability.SYSLOG
    before = status_after("", *setpriv)
    assert before == {**dict.fromkeys(SETS, both), "NoNewPrivs": 0}
    after = status_after("keep_only([Capability.SYSLOG, Capability.SYS_ADMIN])", *setpriv)
    kept = 1 << Capability.SYSLOG
    assert after == {
        **dict.fromkeys(SETS, 0),
        "CapPrm": kept,
        "CapEff": kept,
        "CapBnd": both,
        "NoNewPrivs": 1,
    }


def test_effective_ones_come_back() -> None:
    require("root")
    full = status_after("")
    less = status_after("set_effective([Capability.KILL])")
    assert less == {**full, "CapEff": 1 << Capability.KILL}
    assert status_after("set_effective([])\nset_effective(range(64))") == full


def test_programs_that_are_run_get_nothing_back() -> None:
    """Root's own would, were it not for the bounding set and no_new_privs."""
    require("root")
    command = "['grep', '-h', '^CapEff', '/proc/self/status']"
    script = f"import subprocess\nkeep_only([Capability.KILL])\nsubprocess.run({command})"
    assert status_after(script)["CapEff"] == 1 << Capability.KILL
    done = subprocess.run(
        [sys.executable, "-c", f"from retis_py.kernel.capabilities import *\n{script}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.stdout.split() == ["CapEff:", "0" * 16]


def test_effective() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    [mask] = [int(line.split()[1], 16) for line in lines if line.startswith("CapEff")]
    assert sum(1 << number for number in effective()) == mask


def test_names() -> None:
    assert capability_name(0) == "CAP_CHOWN"
    assert capability_name(39) == "CAP_BPF"
    assert capability_name(63) == "CAP_63"
