"""Importing much at once, in less time."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Let Python not look for garbage while the block imports modules: what they make stays.

    Nor does it look through that later. Where all was imported before, in a process that runs
    several commands, garbage of the command before would stay with it.
    """
    known = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        gc.enable()
