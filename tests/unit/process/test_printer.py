import io
import os
from pathlib import Path

import pytest

from retis_py.errors import RetisError
from retis_py.events.event import Event
from retis_py.events.sections.common import Common
from retis_py.events.sections.netns import Netns
from retis_py.events.sections.startup import Machine, Startup, TimeSpec
from retis_py.events.text import TextFormat
from retis_py.process.printer import Printer

STARTUP = Event(
    Common(1),
    startup=Startup("v1.7.0", "retis", TimeSpec(1_742_309_146, 0), Machine("6.1", "#1", "x86_64")),
)
FIRST, SECOND = Event(Common(2), netns=Netns(4)), Event(Common(3))


def printed(fmt: TextFormat, *, series: bool) -> str:
    stream = io.BytesIO()
    printer = Printer(stream, fmt)
    if series:
        printer.series([FIRST, SECOND])
        printer.series([])
        printer.series([SECOND])
    else:
        printer.event(FIRST)
        printer.event(SECOND)
    assert stream.getvalue() == b""
    printer.flush()
    assert not printer.closed
    return stream.getvalue().decode()


def test_an_empty_line_after_each_event() -> None:
    assert printed(TextFormat(), series=False) == "2\n  ns 4\n\n3\n\n"


def test_an_empty_line_after_each_series() -> None:
    assert printed(TextFormat(), series=True) == "2\n  ns 4\n  ↳ 3\n\n3\n\n"


def test_single_lines_have_none() -> None:
    assert printed(TextFormat(multi_line=False), series=False) == "2 ns 4\n3\n"
    assert printed(TextFormat(multi_line=False), series=True) == "2 ns 4\n  ↳ 3\n3\n"


def test_dates_follow_the_startup_event() -> None:
    stream = io.BytesIO()
    printer = Printer(stream, TextFormat(multi_line=False, utc=True))
    printer.event(STARTUP)
    printer.series([FIRST])
    printer.flush()
    startup, event = stream.getvalue().decode().splitlines()
    assert startup.startswith("2025-03-18 14:45:46.000000 collected with Retis v1.7.0")
    assert event == "2025-03-18 14:45:46.000000 ns 4"


def test_memory_is_bounded() -> None:
    stream = io.BytesIO()
    printer = Printer(stream, TextFormat())
    for _ in range(20_000):
        printer.event(FIRST)
    assert len(stream.getvalue()) > 100_000
    printer.flush()
    assert stream.getvalue() == b"2\n  ns 4\n\n" * 20_000


def test_a_closed_pipe_ends_silently() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stream:
        printer = Printer(stream, TextFormat())
        for _ in range(20_000):
            printer.event(FIRST)
        printer.flush()
        assert printer.closed
        printer.event(FIRST)
        printer.flush()
    # Closing flushed what the stream held back, without an error.


def test_a_full_disk_is_an_error() -> None:
    with Path("/dev/full").open("wb") as stream:
        printer = Printer(stream, TextFormat())
        printer.event(FIRST)
        with pytest.raises(RetisError) as caught:
            printer.flush()
        assert str(caught.value) == "cannot write the events as text: No space left on device"
        printer.flush()
