"""An input that something was found with, made smaller while the same is found with it."""

import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

Check = Callable[[bytes], None]

_SECONDS = 20.0  # for all of it
_HANGS_AFTER = 3  # s of one input


def reduced(check: Check, data: bytes) -> bytes:
    """Return the input with all taken out that need not be there, as far as time allows."""
    end = time.monotonic() + _SECONDS
    wanted = outcome(check, data)
    if not wanted:
        return data
    size = max(1, len(data) // 2)
    while size:
        at = 0
        while at < len(data) and time.monotonic() < end:
            shorter = data[:at] + data[at + size :]
            if outcome(check, shorter) == wanted:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def outcome(check: Check, data: bytes) -> str:
    """Say how the check ends, in another process: "", an error and where it came from, a signal."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_HANGS_AFTER)
        said = ""
        try:
            check(data)
        except BaseException as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__} {frame.filename}:{frame.lineno}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return f"ended with {status}" if status else said
