"""What a benchmark measured: a table for people, JSON for machines, an exit code for CI."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured several times.

    ``limit`` is what the median may be at most; None where the row is there to compare with.
    ``values`` and ``limit`` are in ``unit``.
    """

    name: str
    unit: str
    values: Sequence[float]
    limit: float | None = None

    @property
    def median(self) -> float:
        """What counts."""
        return statistics.median(self.values)

    @property
    def passed(self) -> bool:
        """Whether the limit holds, where there is one."""
        return self.limit is None or self.median <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """Built-in types by JSON key."""
        return {
            "name": self.name,
            "unit": self.unit,
            "values": list(self.values),
            "median": self.median,
            "minimum": min(self.values),
            "maximum": max(self.values),
            "limit": self.limit,
            "passed": self.passed,
        }


@dataclass(slots=True)
class Report:
    """The rows of one benchmark, with the machine that they were measured on.

    ``notes`` say what was not measured, and why.
    """

    benchmark: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def passed(self) -> bool:
        """Whether all limits hold."""
        return all(row.passed for row in self.rows)

    def text(self) -> str:
        """Return the table, and above it a line that says on what machine."""
        header = ("", "median", "min", "max", "limit", "")
        lines = [header, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = "\n".join(
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )
        return "\n".join((self._machine_text(), table, *self.notes))

    def as_dict(self) -> dict[str, Any]:
        """Built-in types by JSON key."""
        return {
            "benchmark": self.benchmark,
            "passed": self.passed,
            "machine": _machine() | {"load_before": self.load_before},
            "rows": [row.as_dict() for row in self.rows],
            "notes": self.notes,
        }

    def finish(self, json_file: Path | None = None) -> int:
        """Print the table, write the JSON where asked for; return the exit code, 1: too slow."""
        print(self.text(), flush=True)
        if json_file is not None:
            json_file.write_text(json.dumps(self.as_dict(), indent=2) + "\n")
        return 0 if self.passed else 1

    def _machine_text(self) -> str:
        machine = _machine()
        return (
            f"Linux {machine['kernel']} {machine['hardware']}, {machine['cpus']} CPU(s), "
            f"Python {machine['python']}, load {self.load_before:.1f} before"
        )


def _cells(row: Row) -> tuple[str, ...]:
    limit = verdict = ""
    if row.limit is not None:
        limit, verdict = as_text(row.limit, row.unit), "pass" if row.passed else "FAIL"
    numbers = (as_text(n, row.unit) for n in (row.median, min(row.values), max(row.values)))
    return (row.name, *numbers, limit, verdict)


def as_text(value: float, unit: str) -> str:
    """Return a number as it stands in a table."""
    digits = 3 if abs(value) < 10 else 1
    return f"{value:,.{digits}f} {unit}".rstrip()


def _machine() -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "hardware": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
