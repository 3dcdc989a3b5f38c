import gzip
from pathlib import Path

import pytest

from retis_py.errors import UsageError
from retis_py.kernel.kconf import KernelConfig

TEXT = b"""#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_CC_VERSION_TEXT="gcc \\"12\\" (Debian)"
CONFIG_KPROBES=y
CONFIG_KPROBES_SANITY_TEST=m
CONFIG_HZ=250
# CONFIG_FPROBE is not set
CONFIG_LOCALVERSION=""
"""


@pytest.mark.parametrize(
    ("option", "value", "enabled"),
    [
        ("CONFIG_KPROBES", "y", True),
        ("CONFIG_KPROBES_SANITY_TEST", "m", True),
        ("CONFIG_HZ", "250", False),
        ("CONFIG_FPROBE", "n", False),
        ("CONFIG_KPROBE", "n", False),
        ("CONFIG_CC_VERSION_TEXT", 'gcc "12" (Debian)', False),
        ("CONFIG_LOCALVERSION", "", False),
    ],
)
def test_values(tmp_path: Path, option: str, value: str, enabled: bool) -> None:
    path = tmp_path / "config"
    path.write_bytes(TEXT)
    config = KernelConfig.find(path, "6.1")
    assert config.value(option) == value
    assert config.is_enabled(option) is enabled
    assert config.source == path


def test_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "config.gz"
    path.write_bytes(gzip.compress(TEXT))
    assert KernelConfig.find(path, "6.1").value("CONFIG_KPROBES") == "y"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage\x00\xff",
        b"KPROBES=y\n",
        b"\x1f\x8bgarbage",
        gzip.compress(b"nothing"),
        gzip.compress(TEXT)[:60],
        gzip.compress(TEXT)[:30] + b"\x00" * 40,
    ],
)
def test_garbage_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="/boot/config-6\\.1") as error:
        KernelConfig.find(path, "6.1")
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_unreadable_is_one_line_and_escaped(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as error:
        KernelConfig.find(tmp_path / "no\n\x1b[31m", "6.1")
    assert str(error.value).isprintable()
    with pytest.raises(UsageError, match="Is a directory"):
        KernelConfig.find(tmp_path, "6.1")


def test_places_in_their_order(tmp_path: Path) -> None:
    places = [
        "lib/modules/6.1/build/.config",
        "usr/lib/modules/6.1/config",
        "lib/modules/6.1/config",
        "boot/config-6.1",
        "proc/config.gz",
    ]
    for place in places:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'CONFIG_PLACE="%b"\n' % place.encode())
        config = KernelConfig.find(None, "6.1", tmp_path)
        assert config.value("CONFIG_PLACE") == place
        assert config.source == path


def test_a_broken_place_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/config.gz").write_bytes(b"\x1f\x8b\x00")
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config-6.1").write_bytes(TEXT)
    assert KernelConfig.find(None, "6.1", tmp_path).value("CONFIG_HZ") == "250"


def test_nothing_found_is_unknown(tmp_path: Path) -> None:
    config = KernelConfig.find(None, "6.1", tmp_path)
    assert config.source is None
    assert config.value("CONFIG_KPROBES") is None
    assert config.is_enabled("CONFIG_KPROBES") is None
