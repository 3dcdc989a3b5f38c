"""For all tests: how they are started, what they generate, where retis keeps what it compiles.

In CI generated data are the same in every run, elsewhere others each time. Programs are kept for
the session, in a folder of its own: each is compiled once, which takes seconds on emulated CPUs,
and none comes from an earlier session, which would hide that it no longer compiles.
"""

import os
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from lab.open_checkout import open_checkout
from retis_py import compiled

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("repeatable")


def pytest_configure() -> None:
    """Have tests see the same wherever the checkout is, and however they are started."""
    # A shell has it ignored in what it starts with "&", and so would be what tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() == 0:
        try:
            open_checkout()
        except OSError as error:
            pytest.exit(
                f"tests run retis as another user, who cannot enter the checkout: {error}:"
                " move it to where all users may go, to /srv for example",
                returncode=1,
            )


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
