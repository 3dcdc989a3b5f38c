"""Names that stand for several files, and the file that is read when none is named."""

from pathlib import Path

import pytest

from retis_py.events.inputs import find_inputs, following


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(name: str | None) -> list[str]:
    return [str(path) for path in find_inputs(None if name is None else Path(name))]


def touch(*names: str) -> None:
    for name in names:
        Path(name).touch()


@pytest.mark.usefixtures("folder")
def test_the_default() -> None:
    assert found(None) == ["retis.data"]  # whoever opens it says that it is missing
    touch("retis.data.1")
    assert found(None) == ["retis.data"]
    touch("retis.data.0", "retis.data.3")
    assert found(None) == ["retis.data.0", "retis.data.1"]
    touch("retis.data")
    assert found(None) == ["retis.data"]


@pytest.mark.usefixtures("folder")
def test_files_from_a_number_on() -> None:
    touch(*(f"cap.{number}" for number in (0, 1, 2, 8, 9, 10, 11, 13)), "cap.02", "cap.-1")
    assert found("cap..") == found("cap.0..") == ["cap.0", "cap.1", "cap.2"]
    assert found("cap.1..") == ["cap.1", "cap.2"]
    assert found("cap.8..") == ["cap.8", "cap.9", "cap.10", "cap.11"]
    assert found("cap.5..") == ["cap.5"]
    assert found("cap.1") == ["cap.1"]
    assert found("cap.02..") == ["cap.02.0"]


@pytest.mark.usefixtures("folder")
def test_files_in_a_folder() -> None:
    Path("a.3").mkdir()
    touch("a.3/cap.4", "a.3/cap.5")
    assert found("a.3/cap.4..") == ["a.3/cap.4", "a.3/cap.5"]
    assert found("./a.3/../a.3/cap.4..")[-1] == "a.3/../a.3/cap.5"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["..", ".", "...", "....", "a/..", "/..", "/", "-", "a.", "a. ."])
def test_names_that_stand_for_themselves(name: str) -> None:
    assert found(name) == [str(Path(name))]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["odd..", "...x..", "cap.0..", "\x1b[1m..", "a b.."])
def test_a_file_of_that_very_name_is_meant(name: str) -> None:
    touch(name)
    assert found(name) == [name]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["...x..", "\x1b[1m..", "new\nline..", "*..", "ü.."])
def test_odd_names(name: str) -> None:
    first = f"{name.removesuffix('..')}.0"
    assert found(name) == [first]
    touch(first, f"{name.removesuffix('..')}.1")
    assert len(found(name)) == 2


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["cap", "cap.x", "cap.1x", "cap.01", "cap.٣", "cap.9999999999"])
def test_nothing_follows_a_file_without_a_number(name: str) -> None:
    touch("cap.0", "cap.1", "cap.2", "cap.4", "cap.10000000000")
    assert following(Path(name)) is None


@pytest.mark.usefixtures("folder")
def test_what_follows() -> None:
    touch("cap.9", "cap.10")
    assert following(Path("cap.9")) == Path("cap.10")
    assert following(Path("cap.10")) is None
