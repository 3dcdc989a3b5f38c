"""Which build is taken, and which source is refused, without building one."""

import hashlib
from pathlib import Path

import pytest

from vm import cache, openvswitch


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETIS_OVS_CACHE", str(tmp_path))
    return tmp_path


def test_preferred_release_is_taken(folder: Path) -> None:
    assert openvswitch.cached() is None
    (folder / ".new-x").mkdir()
    (folder / "2.0.0").mkdir()
    assert openvswitch.cached() is None
    for source in reversed(openvswitch.SOURCES):
        (folder / source.version).mkdir()
        build = openvswitch.cached()
        assert build is not None
        assert build.version == source.version
        assert build.daemon == folder / source.version / "ovs-vswitchd"


def test_source_with_another_checksum_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "openvswitch_1.0.orig.tar.xz"
    source = openvswitch.Source("1.0", ("sid",), hashlib.sha256(b"good").hexdigest())
    with pytest.raises(cache.FetchError, match=r"sid has another release than 1\.0"):
        openvswitch.checked(archive, source, "sid")
    archive.write_bytes(b"bad")
    with pytest.raises(cache.FetchError, match="of sid has another checksum"):
        openvswitch.checked(archive, source, "sid")
    archive.write_bytes(b"good")
    assert openvswitch.checked(archive, source, "sid") == archive
