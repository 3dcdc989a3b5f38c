"""Bytes come whole lines at a time, from files, pipes and whatever else can be opened."""

import os
import threading
import time
from pathlib import Path

import pytest

from retis_py.errors import EventFileError
from retis_py.events import source as source_module
from retis_py.events.source import Source, Span

LINES = b"a\nbb\n\n" + b"c" * 50 + b"\n" + b"".join(b"%d\n" % n for n in range(40))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def pieces(path: Path, size: int) -> list[bytes]:
    source = Source(path)
    try:
        found = list(source.pieces(size))
        assert source.position == sum(map(len, found))
    finally:
        source.close()
    return found


def spans(path: Path, size: int) -> list[bytes]:
    source = Source(path)
    try:
        places = list(source.spans(size))
        starts = [span.offset for span in places]
        ends = [span.offset + span.size for span in places]
        assert [0, *ends] == [*starts, source.size]
        return [source.read_span(span) for span in places]
    finally:
        source.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 49, 50, 51, 52, 1000])
@pytest.mark.parametrize("end", [b"", b"no newline", b"\n\n"])
@pytest.mark.parametrize("read", [pieces, spans])
def test_pieces_are_whole_lines(path: Path, size: int, end: bytes, read: object) -> None:
    path.write_bytes(LINES + end)
    assert callable(read)
    found = read(path, size)
    assert b"".join(found) == LINES + end
    assert all(piece.endswith(b"\n") for piece in found[:-1])
    assert all(found)
    if size < 50:
        assert len(found) > 2


@pytest.mark.parametrize("content", [b"x", b"\n", b"x\n", b"x" * 1000])
@pytest.mark.parametrize("read", [pieces, spans])
def test_a_single_line(path: Path, content: bytes, read: object) -> None:
    path.write_bytes(content)
    assert callable(read)
    for size in (1, 999, 1000, 1001):
        assert read(path, size) == [content]


def test_an_empty_file_has_no_pieces(path: Path) -> None:
    path.touch()
    assert pieces(path, 10) == spans(path, 10) == []


def fed(path: Path, *parts: bytes, pause: float = 0.0) -> threading.Thread:
    """Write parts to a FIFO beside the reader, each by itself."""
    os.mkfifo(path)

    def feed() -> None:
        with path.open("wb", buffering=0) as fifo:
            for part in parts:
                fifo.write(part)
                time.sleep(pause)

    thread = threading.Thread(target=feed)
    thread.start()
    return thread


def test_a_fifo_that_gives_a_byte_at_a_time(path: Path) -> None:
    writer = fed(path, *(bytes((byte,)) for byte in LINES + b"end"), pause=0.0002)
    found = pieces(path, 1 << 20)
    writer.join()
    assert b"".join(found) == LINES + b"end"
    assert all(piece.endswith(b"\n") for piece in found[:-1])


def test_what_a_fifo_holds_is_handed_out_at_once(path: Path) -> None:
    """The rest is only written when that was done."""
    os.mkfifo(path)
    handed_out = threading.Event()

    def feed() -> None:
        with path.open("wb", buffering=0) as fifo:
            fifo.write(b"first\nsec")
            if handed_out.wait(20):
                fifo.write(b"ond\n")

    writer = threading.Thread(target=feed)
    writer.start()
    source = Source(path)
    found = source.pieces()
    assert next(found) == b"first\n"
    handed_out.set()
    assert list(found) == [b"second\n"]
    writer.join()
    assert source.size is None
    source.close()


def test_a_long_line_in_small_parts_takes_no_longer_than_it_must(path: Path) -> None:
    """A million reads: what has come so far is not gone through again at each."""
    path.write_bytes(bytes(200_000) + b"\n")
    begun = time.monotonic()
    assert len(pieces(path, 1)) == 1
    assert time.monotonic() - begun < 20


def test_a_pipe_that_does_not_wait(path: Path) -> None:
    """Whoever shares the standard input may have made it so: no data is not the end."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    source = Source(Path(f"/proc/self/fd/{reader}"))
    os.set_blocking(source.fileno(), False)
    timer = threading.Timer(0.2, lambda: (os.write(writer, b"late\n"), os.close(writer)))
    timer.start()
    assert list(source.pieces()) == [b"late\n"]
    timer.join()
    source.close()
    os.close(reader)


def test_a_file_that_grows_is_read_to_its_new_end(path: Path) -> None:
    path.write_bytes(b"a\n")
    source = Source(path)
    found = source.pieces()
    assert next(found) == b"a\n"
    with path.open("ab") as file:
        file.write(b"b\n")
    assert list(found) == [b"b\n"]
    assert source.size == 2
    source.close()


def test_spans_of_a_file_that_shrank_hold_what_is_left(path: Path) -> None:
    path.write_bytes(LINES)
    source = Source(path)
    places = list(source.spans(100))
    os.truncate(path, places[0].size + 3)
    assert source.read_span(places[0]) == LINES[: places[0].size]
    assert len(source.read_span(places[1])) == 3
    assert source.read_span(Span(10_000, 5)) == b""
    source.close()


ENDLESS = (
    "the line at byte 2 is longer than 0 MiB; this is no event file, or was damaged;"
    " 'head -c 2' keeps what is before it"
)


def test_an_endless_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is before it is handed out, in one piece after another and by places alike."""
    monkeypatch.setattr(source_module, "MAX_LINE", 1000)
    path.write_bytes(b"a\n" + bytes(5000) + b"\nb\n")
    source = Source(path)
    found = source.pieces(100)
    assert next(found) == b"a\n"
    with pytest.raises(EventFileError, match=ENDLESS):
        next(found)
    places = source.spans(100)
    assert source.read_span(next(places)) == b"a\n"
    with pytest.raises(EventFileError, match=ENDLESS):
        source.read_span(next(places))
    source.close()


def test_the_longest_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MAX_LINE", 1000)
    content = b"a\n" + b"x" * 899 + b"\n" + b"y" * 998 + b"\nb\n"
    path.write_bytes(content)
    for size in (1, 100, 900):
        assert b"".join(spans(path, size)) == b"".join(pieces(path, size)) == content


def test_a_device_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MAX_LINE", 1 << 20)
    source = Source(Path("/dev/zero"))
    with pytest.raises(EventFileError, match="/dev/zero: the line at byte 0 is longer than 1 MiB"):
        next(source.pieces())
    source.close()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "cap.0").touch()
    for name, message in (
        ("cap", rf"cannot read {tmp_path}/cap: no such file; did you mean {tmp_path}/cap.0.. \?"),
        ("none", "no such file; collect events into it first"),
        (".", "Is a directory"),
        ("x\0y", r"cannot read .*x\\x00y: embedded null byte"),
        ("n" * 300, "File name too long"),
        ("cap.0/x", "Not a directory"),
    ):
        with pytest.raises(EventFileError, match=message):
            Source(tmp_path / name)


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(EventFileError, match="the standard input is closed; name an event file"):
        Source(Path("-"))


def test_a_read_error_is_told() -> None:
    """The kernel refuses to read this file where nothing is mapped."""
    source = Source(Path("/proc/self/mem"))
    with pytest.raises(EventFileError, match="cannot read /proc/self/mem: Input/output error"):
        list(source.pieces())
    source.close()
    source.close()
