"""Runs the commands of a page in one shell, in the page's order, and compares what they print."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from docs_run import page
from docs_run.masking import difference
from docs_run.shell import ROOT, Shell, ShellError, shell, shortened

TIME_LIMIT = 120.0  # s for a command; a guest takes ten times as long as this machine
_BROKEN_PIPE = 128 + 13  # `retis print | head`


@dataclass(slots=True)
class Report:
    """What came of a page: commands run, blocks left out and why, and what is wrong."""

    ran: int = 0
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run_page(
    path: Path,
    missing: Callable[[str], str | None],
    time_limit: float = TIME_LIMIT,
    checkout: Path = ROOT,
    wanted: Callable[[page.Block], bool] = lambda _: True,
) -> Report:
    """Run the commands of the page ``path`` in a temporary folder.

    ``missing`` says of a capability why it is not there, or None (lab.capabilities.CAPABILITIES).
    ``retis`` is that of ``checkout``; blocks that are not ``wanted`` are left out. A problem is a
    command that fails or prints something else than the page shows; those after it are run all
    the same. A command that shows a line ``Error: …`` has to fail, and the last of a block that the
    page says so of.
    """
    report = Report()
    with tempfile.TemporaryDirectory(prefix="docs-run-") as name:
        folder, scratch = Path(name, "work"), Path(name, "shell")
        folder.mkdir()
        scratch.mkdir()
        with shell(folder, scratch, checkout) as started:
            try:
                for item in page.read(path):
                    if isinstance(item, page.File):
                        _make(item, folder)
                    elif not wanted(item):
                        report.left_out.append(f"line {item.line}: not wanted")
                    elif reason := _why_not(item, missing):
                        report.left_out.append(f"line {item.line}: {reason}")
                    else:
                        report.ran += len(item.steps)
                        compared = _is_compared(item, missing)
                        report.problems += _run_block(item, compared, started, time_limit)
            except ShellError as error:
                report.problems.append(str(error))
    return report


def _make(item: page.File, folder: Path) -> None:
    target = folder / item.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if item.source:
        shutil.copy(ROOT / item.source, target)
    else:
        target.write_text(item.text or "")


def _why_not(block: page.Block, missing: Callable[[str], str | None]) -> str | None:
    if block.not_run:
        return f"not run: {block.not_run}"
    if any(step.as_root for step in block.steps) and os.geteuid() != 0:
        return "not root"
    return next((reason for name in sorted(block.needs) if (reason := missing(name))), None)


def _is_compared(block: page.Block, missing: Callable[[str], str | None]) -> bool:
    return not any(missing(name) for name in block.shown_with) and all(
        missing(name) for name in block.shown_without
    )


def _run_block(block: page.Block, compared: bool, started: Shell, time_limit: float) -> list[str]:
    """Run its commands; return what is wrong. Raises ShellError where no other can be run."""
    problems = []
    for step in block.steps:
        place = f"line {step.line}: {step.command}"
        try:
            ran = started.run(step.command, time_limit, "^C" in (step.shown or ()))
        except ShellError as error:
            raise ShellError(f"{place}: {error}") from None
        shows_error = any(line.startswith("Error: ") for line in step.shown or ())
        must_fail = block.fails and step is block.steps[-1]
        must_fail |= shows_error and "|" not in step.command  # a pipe ends as its last command
        failed = ran.exit_code not in (0, _BROKEN_PIPE)
        if compared and ((must_fail and not failed) or (failed and not (must_fail or shows_error))):
            problems.append(f"{place}\nexit code {ran.exit_code}\n{shortened(ran.printed)}")
        elif (
            compared
            and step.shown
            and (found := difference(step.shown, ran.printed, block.among_others))
        ):
            problems.append(f"{place}\n{shortened(found)}")
    return problems
