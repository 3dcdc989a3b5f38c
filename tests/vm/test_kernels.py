"""Finding and unpacking kernels, without downloading one."""

import gzip
import lzma
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vm import cache, kernels

ELF = b"\x7fELF" + bytes(range(256)) * 64


def _size(payload: bytes) -> bytes:
    """What the kernel's build appends: the uncompressed size."""
    return payload + struct.pack("<I", len(ELF))


def _tool(*command: str) -> bytes:
    return subprocess.run(command, input=ELF, stdout=subprocess.PIPE, check=True).stdout


def _bz_image(payload: bytes, setup_sectors: int = 3, offset: int = 0x123) -> bytes:
    image = bytearray((setup_sectors + 1) * 512 + offset)
    image[0x1F1] = setup_sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, offset, len(payload))
    return bytes(image) + payload + b"what follows"


@pytest.mark.parametrize(
    "compress",
    [
        pytest.param(lambda: gzip.compress(ELF), id="gzip"),
        pytest.param(lambda: _size(lzma.compress(ELF)), id="xz"),
        pytest.param(lambda: _size(lzma.compress(ELF, lzma.FORMAT_ALONE)), id="lzma"),
        pytest.param(lambda: _size(_tool("zstd", "-qc")), id="zstd"),
        pytest.param(lambda: _size(_tool("lz4", "-lqc")), id="lz4"),
    ],
)
def test_uncompressed_kernel(compress: Callable[[], bytes]) -> None:
    assert kernels.uncompressed_kernel(_bz_image(compress())) == ELF


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "not a bzImage"),
        (bytes(4096), "not a bzImage"),
        (_bz_image(b"unknown"), "unknown compression"),
        (_bz_image(gzip.compress(b"text")), "no ELF"),
    ],
)
def test_what_is_no_kernel_is_refused(image: bytes, message: str) -> None:
    with pytest.raises(cache.FetchError, match=message):
        kernels.uncompressed_kernel(image)


def test_newest_cached_is_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETIS_VM_CACHE", str(tmp_path))
    assert kernels.cached("6.1") is None
    names = ["6.1.0-9-amd64", "6.1.0-56-amd64", "6.12.117+deb12-amd64", "6.12.9+deb12-amd64"]
    for name in [*names, ".new-x", "6.1.0-99-cloud-amd64", "6.12.200+deb13-amd64"]:
        (tmp_path / name).mkdir()
    newest = {series: kernels.cached(series) for series in ("6.1", "6.12")}
    versions = {series: kernel and kernel.version for series, kernel in newest.items()}
    assert versions == {"6.1": "6.1.0-56-amd64", "6.12": "6.12.117+deb12-amd64"}
