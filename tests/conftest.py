"""For all tests: what they generate, and where retis keeps what it compiles.

In CI generated data are the same in every run, elsewhere others each time. Programs are kept for
the session, in a folder of its own: each is compiled once, which takes seconds on emulated CPUs,
and none comes from an earlier session, which would hide that it no longer compiles.
"""

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from retis_py import compiled

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session() -> Iterator[None]:
    with (
        tempfile.TemporaryDirectory(prefix="retis-cache-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_CACHE_HOME", folder)
        yield


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
