"""Conditions under which an entry of a profile applies, and the kernel facts they ask for."""

import os
import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from retis_py.kernel.kallsyms import KallSyms


class KernelFacts(Protocol):
    """What conditions may ask of a kernel."""

    @property
    def release(self) -> str:
        """The kernel's release, as ``uname -r`` shows it."""

    def has_symbol(self, name: str) -> bool:
        """Whether a function, or with one ``:`` in the name a tracepoint, exists."""


class RunningKernel:
    """The kernel that runs here. Symbols are read only when a condition asks for one."""

    @property
    def release(self) -> str:
        """The kernel's release."""
        return os.uname().release

    def has_symbol(self, name: str) -> bool:
        """Whether kallsyms has the function, or traces of the tracepoint ``group:event``."""
        group, colon, event = name.partition(":")
        if colon:
            return event in self._tracepoints
        return bool(self._symbols.symbols(group))

    @cached_property
    def _symbols(self) -> "KallSyms":
        from retis_py.kernel.kallsyms import KallSyms  # noqa: PLC0415 (seldom needed)

        return KallSyms()

    @cached_property
    def _tracepoints(self) -> set[str]:
        return self._symbols.tracepoints()


class SymbolCondition(Struct, frozen=True):
    """Holds where the kernel has the symbol, or with ``exists`` false where it lacks it."""

    name: str
    exists: bool

    def holds(self, kernel: KernelFacts) -> bool:
        """Whether the condition holds."""
        return kernel.has_symbol(self.name) is self.exists

    def __str__(self) -> str:
        return f"symbol {self.name} {'present' if self.exists else 'absent'}"


class VersionCondition(Struct, frozen=True):
    """Holds where the kernel's version satisfies all comma-separated comparisons.

    The comparisons are those of the semver crate, which retis uses
    (https://docs.rs/semver/1/semver/enum.Op.html): ``=``, ``>``, ``>=``, ``<``, ``<=``, ``~``,
    ``^`` (also without any sign) and ``*``. Parts left out stand for any: ``>6.2`` begins at
    6.3. A release's own numbers may follow (``>=5.14.0-162.6``) and are compared with those of
    the running kernel.
    """

    requirement: str

    def __post_init__(self) -> None:
        _parse_requirement(self.requirement)

    def holds(self, kernel: KernelFacts) -> bool:
        """Whether the condition holds; a release that is no version satisfies none."""
        version = _parse_release(kernel.release)
        if version is None:
            return False
        return all(compare(version) for compare in _parse_requirement(self.requirement))

    def __str__(self) -> str:
        return f"kernel version {self.requirement}"


Condition = SymbolCondition | VersionCondition

# Major, minor, patch, then the numbers of the distribution's own release.
_Version = tuple[int, ...]
_Comparison = Callable[[_Version], bool]

_COMPARATOR = re.compile(
    r"\s*(?P<sign>=|>=|>|<=|<|~|\^)?\s*"
    r"(?P<parts>\d{1,9}(?:\.(?:\d{1,9}|\*)){0,2}|\*)"
    r"(?:-(?P<release>\d{1,9}(?:\.\d{1,9})*))?\s*",
    re.ASCII,
)
_RELEASE = re.compile(
    r"(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?:-(\d{1,9}(?:\.\d{1,9})*))?", re.ASCII
)


def _parse_release(release: str) -> _Version | None:
    match = _RELEASE.match(release)
    if match is None:
        return None
    major, minor, patch, own = match.groups()
    return (int(major), int(minor), int(patch or 0), *map(int, own.split(".") if own else ()))


def _parse_requirement(text: str) -> list[_Comparison]:
    """Raise ``ValueError`` for what is no requirement."""
    return [_parse_comparator(part) for part in text.split(",")]


def _parse_comparator(text: str) -> _Comparison:
    match = _COMPARATOR.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text.strip()}' is no version comparison such as '>=5.14'")
    sign, parts = match["sign"], match["parts"].split(".")
    has_wildcard = "*" in parts
    if has_wildcard:
        parts = parts[: parts.index("*")]
    numbers = tuple(int(part) for part in parts if part != "*")
    if match["release"]:
        if len(numbers) < 3:
            raise ValueError(f"'{text.strip()}' needs three numbers before the '-'")
        numbers += tuple(map(int, match["release"].split(".")))
    if not numbers:
        return lambda _version: True
    if sign is None:
        sign = "=" if has_wildcard else "^"
    return _compare_with(sign, numbers)


def _compare_with(sign: str, wanted: _Version) -> _Comparison:
    """Compare as many parts as ``wanted`` has; Python orders the tuples."""
    count = len(wanted)
    match sign:
        case ">":
            return lambda version: version[:count] > wanted
        case ">=":
            return lambda version: version[:count] >= wanted
        case "<":
            return lambda version: version[:count] < wanted
        case "<=":
            return lambda version: version[:count] <= wanted
        case "=":
            return lambda version: version[:count] == wanted
        case "~":
            fixed = min(count, 2)
        case _:  # "^": up to and including the first part that is not zero
            fixed = next((i for i, part in enumerate(wanted[:3], 1) if part), min(count, 3))
    return lambda version: version[:fixed] == wanted[:fixed] and version[:count] >= wanted
