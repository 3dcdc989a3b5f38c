"""For all tests: in CI generated data are the same in every run, elsewhere others each time."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from retis_py import compiled

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("repeatable")


@pytest.fixture(scope="module", params=["compiled", "python"])
def ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """All tests of a module twice: with the compiled part, and in Python alone."""
    if request.param == "compiled":
        if compiled.library is None:
            pytest.skip(f"the compiled part {compiled.WHY_NOT}")
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", None)
        patch.setenv("RETIS_PURE_PYTHON", "1")  # for processes that tests start
        yield
