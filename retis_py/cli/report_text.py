"""The machine report as text for people, and as JSON for programs."""

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from retis_py.collect.libraries import Library
from retis_py.collect.report import UNKNOWN, CollectorReport, Report
from retis_py.events.escape import escape

_ANSWERS = {True: "yes", False: "no", None: UNKNOWN}

# Columns of a title, and of an answer that is no version.
_TITLE = 16
_ANSWER = 6


def report_text(report: Report, width: int) -> str:
    """Return the report, whole lines of at most ``width`` columns where words allow it."""
    kernel = f"Linux {report.kernel_release} {report.architecture} ({report.kernel_version})"
    lines = [f"{kernel}, retis-py {report.version}", ""]
    rows: list[tuple[str, str, str]] = [
        (feature.title, _ANSWERS[feature.available], feature.text) for feature in report.features
    ]
    rows += [(setting.title, setting.shown, setting.text) for setting in report.settings]
    rows.append(("capabilities", *_capabilities(report)))
    rows += [_library(library) for library in report.libraries]
    lines += _table(rows, width)
    lines += ["", *_collecting(report, width)]
    return "".join(f"{escape(line)}\n" for line in lines)


def _capabilities(report: Report) -> tuple[str, str]:
    missing = [p for p, held in report.privileges if not held]
    if not missing:
        return "yes", f"all that matter ({', '.join(p.name for p, _ in report.privileges)})"
    answer = "no" if any(p.needed for p in missing) else "some"
    wanting = ", ".join(f"{p.name} ({p.purpose})" for p in missing)
    held = ", ".join(p.name for p, held in report.privileges if held)
    return answer, f"missing: {wanting}; held: {held or 'none that matters'}"


def _library(library: Library) -> tuple[str, str, str]:
    if library.missing is not None:
        return library.name, "no", library.missing
    return library.name, library.version or UNKNOWN, library.note or ""


def _collecting(report: Report, width: int) -> Iterator[str]:
    if report.obstacle is None:
        yield "Collectors:"
    else:
        yield from textwrap.wrap(f"Nothing can be collected: {report.obstacle}", width)
        yield "Collectors:"
    rows = [(c.name, _ANSWERS[c.available], _about(c, report)) for c in report.collectors]
    yield from _table(rows, width)


def _about(collector: CollectorReport, report: Report) -> str:
    if collector.available:
        limits = f" ({collector.limits})" if collector.limits else ""
        return f"{collector.summary}{limits}"
    if collector.own_reason is None:
        return f"{collector.summary} (see above)"
    own = collector.own_reason.removeprefix(f"collector {collector.name}: ")
    return own if report.obstacle is None else f"see above, and {own}"


def _table(rows: Iterable[tuple[str, str, str]], width: int) -> Iterator[str]:
    """Yield the rows with their last column in as many lines as it needs."""
    indent = " " * (2 + _TITLE + 1 + _ANSWER + 1)
    for title, answer, text in rows:
        head = f"  {title:<{_TITLE}} {answer:<{_ANSWER}} "
        # A long title or answer pushes the text of its own row only.
        yield from (
            textwrap.wrap(
                head + escape(text),
                width,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            if text
            else [head.rstrip()]
        )


def report_json(report: Report) -> str:
    """Return the report as one JSON object."""
    told: dict[str, Any] = {
        "retis_py": report.version,
        "kernel": {
            "release": report.kernel_release,
            "version": report.kernel_version,
            "architecture": report.architecture,
        },
        "features": {
            f.name: {"available": f.available, "text": f.text or None, **f.facts}
            for f in report.features
        },
        "settings": {s.name: {"value": s.value, "text": s.text or None} for s in report.settings},
        "capabilities": {
            p.name: {"held": held, "needed": p.needed, "purpose": p.purpose}
            for p, held in report.privileges
        },
        "libraries": {
            lib.name.lower(): {
                "available": lib.missing is None,
                "version": lib.version,
                "text": lib.missing or lib.note,
            }
            for lib in report.libraries
        },
        "collect": {"available": report.obstacle is None, "reason": report.obstacle},
        "collectors": {
            c.name: {
                "available": c.available,
                "reason": c.reason,
                "own_reason": c.own_reason,
                "limits": c.limits,
                "summary": c.summary,
            }
            for c in report.collectors
        },
    }
    return json.dumps(told, indent=2)
