"""``retis schema``: what it prints; what the schema says is tests/unit/events/test_schema.py's."""

import json

import pytest
from click.testing import CliRunner

from retis_py.cli.main import cli, main
from retis_py.events.schema import event_schema


def test_the_schema_is_printed_for_people_too() -> None:
    result = CliRunner().invoke(cli, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == event_schema()
    assert result.stdout.endswith("}\n")
    assert result.stdout.startswith(
        '{\n  "$schema": "https://json-schema.org/draft/2020-12/schema"'
    )
    assert max(len(line) for line in result.stdout.splitlines()) < 300


def test_nothing_else_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "retis.data"]) == 2
    assert capsys.readouterr().err.startswith("Error: Got unexpected extra argument (retis.data)")
