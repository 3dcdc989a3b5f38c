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
