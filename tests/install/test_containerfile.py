"""The image's sources are enough to build from. scripts/lint.sh lints the Containerfile itself."""

import re
import shutil
import zipfile
from pathlib import Path

from lab import installed


def test_what_the_engine_gets_is_enough(source: Path, wheel: Path, tmp_path: Path) -> None:
    """.dockerignore leaves out all but what it names; the wheel of that is the same."""
    lines = (source / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    sent = tmp_path / "sent"
    sent.mkdir()
    for name in (line[1:] for line in lines if line.startswith("!")):
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy
        copy(source / name, sent / name)
    made, _ = installed.build("wheel", sent, tmp_path, CC="no-such-compiler")
    missing = names(wheel) - names(made)
    assert missing == {"retis_py/_compiled.so"}


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_packages_are_those_of_the_documentation(source: Path) -> None:
    """Who installs by hand and who builds the image get the same of Debian."""
    text = (source / "Containerfile").read_text()
    image = re.findall(r"no-install-recommends (.*?) \\?$", text, re.MULTILINE)[-1].split()
    [command] = re.findall(
        r"^# apt-get install (.*)$", (source / "docs/install.md").read_text(), re.M
    )
    assert set(image) <= set(command.split())
