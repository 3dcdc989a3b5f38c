"""Inputs made of others without knowing where they lead: what is left where atheris is not.

Each is written to a file before it is tried, so that a crash leaves it.
"""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import FrameType

from fuzz.target import Target


def fuzz_blindly(
    target: Target, inputs: Sequence[bytes], seconds: float, current: Path, time_limit: int
) -> int:
    """Try inputs for so long; return how many. Raises what is found, with the input in the file."""
    random = Random()  # noqa: S311
    signal.signal(signal.SIGALRM, _hangs)
    end = time.monotonic() + seconds
    count = 0
    with current.open("wb", buffering=0) as file:
        while time.monotonic() < end:
            # The seeds themselves come first.
            data = inputs[count] if count < len(inputs) else _made(inputs, target, random)
            file.seek(0)
            file.truncate()
            file.write(data)
            signal.alarm(time_limit)
            target.check(data)
            count += 1
    signal.alarm(0)
    current.unlink()
    return count


def _hangs(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError("it takes too long")


def _made(inputs: Sequence[bytes], target: Target, random: Random) -> bytes:
    data = random.choice(inputs)
    while True:
        data = _changed(data, inputs, target.dictionary, random)[: target.max_length]
        if random.random() < 0.4:
            return data


def _changed(data: bytes, others: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """The input with something cut, doubled, flipped, put in or taken from another."""
    at, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    if random.random() < 0.7:
        end = min(end, at + random.randrange(8))
    match random.randrange(6):
        case 0:
            return data[:at] + data[end:]
        case 1:
            return data[:end] + data[at:]
        case 2 if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 3 if words:
            return data[:at] + random.choice(words) + data[end:]
        case 4:
            return data[:at] + random.randbytes(random.randrange(1, 9)) + data[end:]
        case _:
            other = random.choice(others)
            start = random.randrange(len(other) + 1)
            return data[:at] + other[start : start + random.randrange(200)] + data[end:]
