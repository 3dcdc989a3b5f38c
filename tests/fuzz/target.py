"""What is fuzzed: a function that takes any bytes, and what is known of the bytes it likes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

FOUND = Path(__file__).parents[1] / "data" / "fuzz"
"""Inputs that something was found with once, in a folder for each target; kept small."""


@dataclass(frozen=True, slots=True)
class Target:
    """``check`` raises for what must not happen; errors that are worded for people it takes.

    ``dictionary`` are pieces that inputs are made of; ``max_length`` is in bytes.
    """

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    dictionary: Sequence[bytes] = ()
    max_length: int = 4096


# Each is a function target() of the module of that name in this folder; and its share of the time.
TARGETS = {
    "event_files": 3,
    "compiled_part": 2,
    "compiled_memory": 2,
    "packets": 1,
    "filtered_packets": 1,
    "where": 1,
    "meta_filters": 1,
    "packet_filters": 1,
    "profiles": 1,
    "records": 2,
    "spools": 2,
    "usdt_notes": 1,
    "unixctl_replies": 1,
    "kernel_texts": 1,
}
SANITIZED = {"compiled_memory": "compiled_part"}
"""Those that run C of ours, compiled with sanitizers, and whose inputs they begin with."""

NEED_COMPILER = {"compiled_part", "compiled_memory", "filtered_packets"}


def load(name: str) -> Target:
    """Make a target ready; takes seconds where it compiles something."""
    made = import_module(f"fuzz.{name}").target()
    assert isinstance(made, Target)
    return made


def found_inputs(name: str) -> list[Path]:
    """The inputs that are kept of a target."""
    folder = FOUND / SANITIZED.get(name, name)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def assert_safe(text: str) -> None:
    """Nothing in a text may do more to a terminal than start a new line."""
    from retis_py.events.escape import escape  # noqa: PLC0415 (to be instrumented)

    for line in text.split("\n"):
        # Characters without a glyph, and those of private use, do nothing.
        assert line.isprintable() or escape(line) == line, f"not escaped: {line!a}"
