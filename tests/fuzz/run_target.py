"""A target in a process of its own: fuzzed, or given inputs that something was found with.

    python tests/fuzz/run_target.py NAME --seconds S --corpus DIR --findings DIR [--blind]
    python tests/fuzz/run_target.py NAME FILE...
    python tests/fuzz/run_target.py NAME --reduce FILE

The first is guided by coverage (atheris, which is libFuzzer for Python) unless it is to be blind,
and ends at the first finding. What is imported while a target is made ready is instrumented.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    # In place of this folder, whose names are those of libraries.
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

from fuzz.blind import fuzz_blindly
from fuzz.reduce import reduced
from fuzz.target import TARGETS, Target, found_inputs, load

TIME_LIMIT = 10
"""Seconds for one input; more is a hang."""
MEMORY_LIMIT = 2048
"""MiB of the process; sanitizers take a part of it."""


def main() -> None:
    """See the module."""
    begun = time.monotonic()
    options = _parse_arguments()
    logging.getLogger("retis_py").addHandler(logging.NullHandler())
    logging.getLogger("retis_py").propagate = False
    if options.seconds is not None:
        options.seconds += begun
        if not options.blind:
            _fuzz(options)
        _fuzz_blindly(options)
        return
    target = load(options.name)
    if options.reduce:
        [path] = options.files
        path.write_bytes(reduced(target.check, path.read_bytes()))
        return
    for path in options.files:
        target.check(path.read_bytes())
        print(f"{path}: nothing")


def _fuzz_blindly(options: argparse.Namespace) -> None:
    target = load(options.name)
    inputs = _inputs(options.name, target)
    if options.corpus.exists():
        inputs += [path.read_bytes() for path in sorted(options.corpus.iterdir())]
    current = options.findings / f"{options.name}-{os.getpid()}"
    seconds = max(1.0, options.seconds - time.monotonic())
    count = fuzz_blindly(target, inputs, seconds, current, TIME_LIMIT)
    print(f"stat::number_of_executed_units: {count}")


def _inputs(name: str, target: Target) -> list[bytes]:
    return [*target.seeds, *(path.read_bytes() for path in found_inputs(name))]


def _fuzz(options: argparse.Namespace) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris  # noqa: PLC0415 (not needed to repeat a finding)

    with atheris.instrument_imports(include=["retis_py"]):
        target = load(options.name)
    corpus: Path = options.corpus
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(_inputs(options.name, target)):
        (corpus / f"seed-{number}").write_bytes(data)
    seconds = max(1, round(options.seconds - time.monotonic()))
    atheris.Setup(
        [
            options.name,
            f"-max_total_time={seconds}",
            f"-timeout={TIME_LIMIT}",
            f"-rss_limit_mb={MEMORY_LIMIT}",
            f"-max_len={target.max_length}",
            *_dictionary(target, corpus),
            f"-artifact_prefix={options.findings}/{options.name}-",
            "-print_final_stats=1",
            "-detect_leaks=0",  # Python does not clean up at its end
            "-reload=0",
            "-len_control=20",
            str(corpus),
        ],
        target.check,
    )
    atheris.Fuzz()


def _dictionary(target: Target, corpus: Path) -> list[str]:
    if not target.dictionary:
        return []
    path = corpus.with_suffix(".dict")
    words = dict.fromkeys(word for word in target.dictionary if word)
    path.write_text("".join(f'"{_escaped(word)}"\n' for word in words))
    return [f"-dict={path}"]


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=TARGETS)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--findings", type=Path)
    parser.add_argument("--blind", action="store_true")
    parser.add_argument("--reduce", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
