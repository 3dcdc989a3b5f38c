"""The code that makes lines of records with the same parts, written as Python's text and compiled.

Neighbouring parts of one section are handled together. Such a section is either looked up by its
bytes or, where it is plain numbers, which differ with each packet, built and encoded.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from retis_py.collect.decode import ADDRESS_SIZE, MADE_OF_FIELDS
from retis_py.collectors.collector import Part
from retis_py.events.event import Event, encode

Line = Callable[[bytes], bytes]
"""From a record to its line, newline included."""

Texts = Mapping[bytes, bytes]

# The header (events/wire.py) in pieces: the timestamp; probe, parts, CPU and task; the stack's
# length; the packet's length; the probe's type and the task's name.
_HEADER = "Q24sHH20s"
_PROBE_SIZE = 8
_WHERE_SIZE = 24

_SECTION_NAMES = {field.name: field.encode_name for field in fields(Event)}  # in the line's order
_PACKET = "packet"

_FUNCTION = """\
def line(record):
    (timestamp, where, frames, captured, who, {values}) = unpack(record)
    at = {size}
    if frames:
        end = at + frames * {address_size}
        if end > len(record):
            raise OtherWayError
        stack = stacks[record[at:end]]
        at = end
    else:
        stack = b"}}"
{sections}
    return template % (timestamp, heads[where + who], stack, {texts})
"""


class OtherWayError(Exception):
    """The record has to be decoded to an Event, which also finds out what is wrong with it."""


class SectionRun(Struct, frozen=True):
    """Neighbouring parts of a section; ``bitmap`` says which."""

    section: str
    parts: tuple[Part, ...]
    bitmap: int

    @property
    def repeats(self) -> bool:
        """Whether its bytes come up again, so that the text is worth remembering."""
        return all(
            p.repeats and not (isinstance(p.build, type) and issubclass(p.build, Struct))
            for p in self.parts
        )


def header_of(head: bytes) -> bytes:
    """Return a header with what a line function looks up in ``heads``, all else being zero."""
    where, who = head[:_WHERE_SIZE], head[_WHERE_SIZE:]
    probe, cpu_and_task = where[:_PROBE_SIZE], where[_PROBE_SIZE + 4 :]
    return bytes(8) + probe + bytes(4) + cpu_and_task + bytes(4) + who


def find_runs(parts: Sequence[Part], bitmap: int) -> list[SectionRun] | None:
    """Return the sections of records with these parts; None where a line function cannot do it."""
    present = [(number, part) for number, part in enumerate(parts) if bitmap >> number & 1]
    runs = []
    for section, group in groupby(present, lambda numbered: numbered[1].section):
        numbers, run_parts = zip(*group, strict=True)
        runs.append(SectionRun(section, run_parts, sum(1 << number for number in numbers)))
    if len({run.section for run in runs}) < len(runs) or not all(map(_is_whole, runs)):
        return None
    return runs


def write_line_function(
    runs: Sequence[SectionRun], heads: Texts, stacks: Texts, texts: Mapping[int, Texts]
) -> Line:
    """Return the function for records with these parts.

    ``heads`` gives what stands between the timestamp and the stack, ``stacks`` the rest of the
    section that a stack is in, ``texts``, by bitmap, those sections that repeat. The function
    raises OtherWayError or struct.error for a record that it cannot do, and whatever they raise.
    """
    format_ = struct.Struct("=" + _HEADER + "".join(map(_format, runs)))
    names: dict[str, Any] = {
        "unpack": format_.unpack_from,
        "template": _template(runs),
        "heads": heads,
        "stacks": stacks,
        "encode": encode,
        "OtherWayError": OtherWayError,
    }
    code: list[str] = []
    for run in runs:
        if run.repeats:
            names[f"texts_{run.section}"] = texts[run.bitmap]
            code.append(f"{run.section} = texts_{run.section}[raw_{run.section}]")
            continue
        code += _build(run, names)
        code.append(f"{run.section} = encode({run.section})")
    text = _FUNCTION.format(
        values=", ".join(value for run in runs for value in _values(run)),
        size=format_.size,
        address_size=ADDRESS_SIZE,
        sections="\n".join(f"    {statement}" for statement in code),
        texts=", ".join(run.section for run in _in_order(runs)),
    )
    # Nothing but names of sections and fields, which are our own, and numbers is in it.
    exec(compile(text, f"<line of {_template(runs)!r}>", "exec"), names)  # noqa: S102
    line: Line = names["line"]
    return line


def _is_whole(run: SectionRun) -> bool:
    """Whether the section is made by its first part, or can be made without one."""
    return run.parts[0].field is None or run.section in MADE_OF_FIELDS


def _format(run: SectionRun) -> str:
    if run.repeats:
        return f"{sum(part.wire.size for part in run.parts)}s"
    return "".join(part.wire.format for part in run.parts)


def _values(run: SectionRun) -> Iterator[str]:
    """Give names for what is unpacked."""
    if run.repeats:
        yield f"raw_{run.section}"
        return
    for part in run.parts:
        yield from _members(part)


def _members(part: Part) -> list[str]:
    return [f"{part.wire.name}_{member}" for member in part.wire.fields]


def _build(run: SectionRun, names: dict[str, Any]) -> Iterator[str]:
    """Give the statements that build the section; what they call is put into ``names``."""
    section = run.section
    if run.parts[0].field is not None:
        names[f"make_{section}"] = MADE_OF_FIELDS[section]
        yield f"{section} = make_{section}()"
    for part in run.parts:
        names[f"build_{part.wire.name}"] = part.build
        target = section if part.field is None else f"{section}.{part.field}"
        yield f"{target} = build_{part.wire.name}({', '.join(_members(part))})"
    if section == _PACKET:
        yield "end = at + captured"
        yield "if end > len(record): raise OtherWayError"
        yield f"{section}.raw = record[at:end]"
        yield f"{section}.capture_len = captured"


def _template(runs: Sequence[SectionRun]) -> bytes:
    sections = "".join(f',"{_SECTION_NAMES[run.section]}":%b' for run in _in_order(runs))
    return b'{"common":{"timestamp":%%d%%b%%b%b}\n' % sections.encode()


def _in_order(runs: Sequence[SectionRun]) -> list[SectionRun]:
    order = list(_SECTION_NAMES)
    return sorted(runs, key=lambda run: order.index(run.section))
