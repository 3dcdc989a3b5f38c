"""What pytest in a guest did, read from the JUnit XML that it leaves in the shared folder."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class GuestTest:
    """One test of the guest. ``outcome`` is passed, failed or skipped; ``reason`` says why not."""

    kernel: str
    name: str
    outcome: str
    seconds: float
    reason: str


# Where tests/vm/test_vm.py puts what ran, for conftest.py to print at the end.
GUEST_TESTS = pytest.StashKey[list[GuestTest]]()


def read(path: Path, kernel: str) -> list[GuestTest]:
    """The tests in a JUnit XML file."""
    root = ET.parse(path).getroot()  # noqa: S314 (our own pytest wrote it)
    return [_test(case, kernel) for case in root.iter("testcase")]


def _test(case: ET.Element, kernel: str) -> GuestTest:
    outcome, reason = "passed", ""
    for child in case:
        if child.tag in ("failure", "error"):
            outcome = "failed"
        elif child.tag == "skipped":
            outcome = "skipped"
        else:  # captured output, properties
            continue
        reason = (child.get("message") or "").partition("\n")[0]
    name = f"{case.get('classname')}::{case.get('name')}"
    return GuestTest(kernel, name, outcome, float(case.get("time") or 0), reason)
