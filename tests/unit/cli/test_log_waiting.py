"""Messages while nobody reads standard error."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from retis_py.cli.log import LogLevel, messages_that_wait, set_up_logging, takes_more

log = logging.getLogger("retis_py.test")
_PIPE = 1 << 20  # more than a pipe holds


@contextmanager
def standard_error(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Make it a pipe; give both ends."""
    outer, inner = os.pipe()
    with os.fdopen(inner, "w") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        set_up_logging(LogLevel.INFO)
        yield outer, inner
    os.close(outer)


def fill(descriptor: int) -> int:
    os.set_blocking(descriptor, False)
    size = 0
    with pytest.raises(BlockingIOError):
        while size < _PIPE:
            size += os.write(descriptor, bytes(4096))
    os.set_blocking(descriptor, True)
    return size


def read(pipe: int) -> str:
    return os.read(pipe, _PIPE).decode().lstrip("\0")


def test_written_at_once_where_somebody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    with standard_error(monkeypatch) as (outer, _), messages_that_wait():
        log.warning("one")
        assert "one" in read(outer)


def test_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, when they are read."""
    with standard_error(monkeypatch) as (outer, inner):
        size = fill(inner)
        assert not takes_more(sys.stderr)
        with messages_that_wait():
            log.warning("one")
            log.warning("two")
            assert os.read(outer, size) == bytes(size)
            log.warning("three")
            words = [line.split()[-1] for line in read(outer).splitlines()]
            assert words == ["one", "two", "three"]
            size = fill(inner)
            log.warning("four")
            os.read(outer, size)
        assert read(outer).endswith("four\n")


def test_stream_without_a_descriptor() -> None:
    assert takes_more(io.StringIO())
