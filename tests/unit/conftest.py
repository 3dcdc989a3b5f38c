from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_descriptors() -> Iterator[None]:
    """The test leaves no descriptor open."""

    def descriptors() -> set[str]:
        return {p.name for p in Path("/proc/self/fd").iterdir() if p.exists()}

    before = descriptors()
    yield
    assert descriptors() == before
