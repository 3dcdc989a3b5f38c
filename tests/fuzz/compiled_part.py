"""The compiled part against Python: the same results, and no byte touched that is not its own.

The first byte says whether to sort, or else how text is wanted, and whether damaged lines are
skipped; pieces of the file are divided by 0x1E. RETIS_FUZZ_LIBRARY is the library, compiled with
sanitizers.
"""

import os
import tempfile
from pathlib import Path

from fuzz.target import Target
from retis_py import compiled

if "RETIS_FUZZ_LIBRARY" in os.environ:  # before anything else takes the usual one
    compiled.library, compiled.WHY_NOT = compiled.load(Path(os.environ["RETIS_FUZZ_LIBRARY"]))

from interop.compiled_comparison import (
    FORMATS,
    TRAPS,
    Jobs,
    compare_sorting,
    lines_of_data,
    varied,
)
from interop.packet_strategies import repeatable
from retis_py.process import sort

_BETWEEN = b"\x1e"


def target() -> Target:
    """See the module."""
    assert compiled.library is not None, f"the compiled part {compiled.WHY_NOT}"
    folder = Path(tempfile.mkdtemp(prefix="retis-fuzz-"))
    startup, lines = lines_of_data()

    def check(data: bytes) -> None:
        if not data:
            return
        pieces = [piece for piece in data[1:].split(_BETWEEN) if piece]
        if data[0] & 0x40:
            sort._MEMORY = 500 if data[0] & 0x20 else 64 << 20
            compare_sorting(folder / "events", startup, pieces)
            return
        jobs = Jobs(FORMATS[data[0] % len(FORMATS)], keep_going=bool(data[0] & 0x80))
        for piece in pieces:
            jobs.compare(piece)

    random = repeatable(1)
    seeds = [
        bytes([number * 16 + number % 8])
        + _BETWEEN.join(varied([startup, *lines], random)[:1500] for _ in range(2))
        for number in range(16)
    ]
    seeds += [bytes([at * 11 % 256]) + line + b"\n" for at, line in enumerate(lines)]
    return Target(check, seeds, (*TRAPS, _BETWEEN), max_length=4000)
