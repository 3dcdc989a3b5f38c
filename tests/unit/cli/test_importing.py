"""Nobody looks for garbage while modules are imported."""

import gc
import importlib
from pathlib import Path

import pytest

from retis_py.cli.importing import importing
from retis_py.cli.main import main


def test_off_meanwhile() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_on_again_where_it_fails() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401, PLC0415
    assert gc.isenabled()


@pytest.mark.parametrize("imports", [True, False])
def test_what_was_made_is_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports: bool
) -> None:
    """Where nothing was imported it may be garbage of what ran before."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"made_for_{imports}".lower()
    (tmp_path / f"{name}.py").touch()
    before = gc.get_freeze_count()
    with importing():
        made = [[number] for number in range(1000)]
        if imports:
            importlib.import_module(name)
    try:
        assert (gc.get_freeze_count() >= before + len(made)) is imports
    finally:
        gc.unfreeze()


@pytest.mark.usefixtures("capsys")
def test_garbage_of_a_command_is_collected_though_another_one_follows() -> None:
    main(["profile", "list"])
    frozen = gc.get_freeze_count()
    main(["profile", "list"])
    assert gc.get_freeze_count() <= frozen
