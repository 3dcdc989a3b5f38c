"""What the tests of the installation install."""

from pathlib import Path

import pytest

from lab import installed


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout."""
    return installed.copy_of_the_checkout(tmp_path_factory.mktemp("copy") / "retis-py")


@pytest.fixture(scope="session")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    return installed.build("sdist", source, tmp_path_factory.mktemp("sdist"))[0]


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in the source distribution. It must stay as it is."""
    return installed.unpack(sdist, tmp_path_factory.mktemp("unpacked") / "sdist")


@pytest.fixture(scope="session")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the source distribution, with the compiled part."""
    return installed.build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))[0]
