"""docs/python.md: each example runs, and what it lists is there."""

import re
import shutil
from pathlib import Path

import click
import pytest

import retis_py
from retis_py.cli.python import python_command

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
PAGE = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PRINTED = ["dev", "4 series of 1.25 events", "us from", "0800"]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples(
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(DATA / "test_events_packets.json", tmp_path / "retis.data")
    shutil.copy(DATA / "test_events_sorted.json", tmp_path / "sorted.data")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "python.md", "exec"), {"__name__": "__main__"})  # noqa: S102 (the page's)
    printed = capsys.readouterr().out
    if "skb_drop" not in example:  # no packet of that file was dropped
        assert any(words in printed for words in PRINTED), printed


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


def test_public_names_are_documented() -> None:
    for name in retis_py.__all__:
        members = [m for m in vars(getattr(retis_py, name)) if not m.startswith("_")]
        missing = [m for m in (name, *members) if not re.search(rf"\b{m}\b", PAGE)]
        fields = getattr(getattr(retis_py, name), "__struct_fields__", ())
        assert set(missing) <= set(fields), name


def test_options_are_documented() -> None:
    cells = re.findall(r"^\| (`-.*?) \|", PAGE, re.MULTILINE)
    told = set(re.findall(r"`(--?[a-z]+)", " ".join(cells))) - {"-h", "--help"}
    options = (o for o in python_command.params if isinstance(o, click.Option))
    assert told == {spelling for option in options for spelling in option.opts}
