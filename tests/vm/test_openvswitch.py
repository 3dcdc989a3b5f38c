"""Which build is taken, and which source is refused, without building one."""

import hashlib
from pathlib import Path

import pytest

from vm import cache, openvswitch


def test_build_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETIS_OVS_CACHE", str(tmp_path))
    assert openvswitch.cached() is None
    for name in (".new-x", "2.0.0"):
        (tmp_path / name).mkdir()
    assert openvswitch.cached() is None
    (tmp_path / openvswitch.VERSION).mkdir()
    build = openvswitch.cached()
    assert build is not None
    assert build.daemon == tmp_path / openvswitch.VERSION / "ovs-vswitchd"


def test_other_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvswitch, "SHA256", hashlib.sha256(b"good").hexdigest())
    (tmp_path / "openvswitch_9.9.9.orig.tar.xz").touch()
    with pytest.raises(cache.FetchError, match=r"another release \(openvswitch_9\.9\.9\."):
        openvswitch.checked(tmp_path)
    archive = tmp_path / f"openvswitch_{openvswitch.VERSION}.orig.tar.xz"
    archive.write_bytes(b"bad")
    with pytest.raises(cache.FetchError, match="another checksum"):
        openvswitch.checked(tmp_path)
    archive.write_bytes(b"good")
    assert openvswitch.checked(tmp_path) == archive
