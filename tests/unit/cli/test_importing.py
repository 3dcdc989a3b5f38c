"""Nobody looks for garbage while modules are imported."""

import gc

import pytest

from retis_py.cli.importing import importing


def test_off_meanwhile() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_on_again_where_it_fails() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401, PLC0415
    assert gc.isenabled()


def test_what_was_made_is_not_looked_through() -> None:
    before = gc.get_freeze_count()
    with importing():
        made = [[number] for number in range(1000)]
    try:
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()
