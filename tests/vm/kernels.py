"""Debian's kernels for the lab: fetched once, kept outside the checkout, ready for virtme-ng.

``python tests/vm/kernels.py 6.1 6.12`` makes sure that ``~/.cache/retis-py/kernels`` (or
``$RETIS_VM_CACHE``) holds a kernel of each series, ``--newest`` the newest that apt offers::

    6.1.0-56-amd64/boot/vmlinux-6.1.0-56-amd64     uncompressed: QEMU enters it directly (PVH)
    6.1.0-56-amd64/lib/modules/6.1.0-56-amd64/     virtme-ng finds it beside boot/

The guest sees this machine's file system, so the cache may lie anywhere but below /run, /dev,
/var/cache, /var/tmp and /var/log, which a guest covers with file systems of its own.
"""

import argparse
import lzma
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run as a script

from vm import cache
from vm.cache import FetchError, run

ARCHITECTURE = "amd64"

# Drivers of hardware that a guest has no use for. udev would load some of them, which takes an
# emulated CPU seconds, and they are most of the package's size.
_DRIVERS_LEFT_OUT = (
    "ata bluetooth crypto gpu hid hwmon i2c iio infiniband input isdn md media mfd mmc mtd nvme "
    "net/ethernet net/usb net/wireless platform scsi soundwire staging thunderbolt usb video "
    "watchdog"
)
LEFT_OUT = ("arch/x86/kvm", "sound", *(f"drivers/{name}" for name in _DRIVERS_LEFT_OUT.split()))


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache. ``version`` is what ``uname -r`` says in the guest."""

    version: str
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "boot" / f"vmlinux-{self.version}"

    @property
    def modules(self) -> Path:
        return self.folder / "lib" / "modules" / self.version


def cache_folder() -> Path:
    """Where the kernels are kept."""
    return cache.folder("kernels", "RETIS_VM_CACHE")


def get(series: str) -> Kernel:
    """The newest kernel of ``series`` ("6.1") in the cache; fetched when there is none."""
    return cached(series) or fetch(series)


def cached(series: str) -> Kernel | None:
    """The newest kernel of ``series`` in the cache."""
    names = [path.name for path in cache_folder().glob("*") if path.is_dir()]
    versions = [name for name in names if _version_pattern(series).fullmatch(name)]
    if not versions:
        return None
    newest = max(versions, key=_sort_key)
    return Kernel(newest, cache_folder() / newest)


def fetch(series: str) -> Kernel:
    """The newest kernel of ``series`` that apt offers, downloaded unless the cache has it.

    Raises FetchError when apt offers none or the download fails.
    """
    with cache.locked(cache_folder()):
        try:
            return _newest(series)
        except FetchError:
            # No package list yet, or one older than the archive, which has no such kernel any more.
            run("apt-get", "update", "-qq")
            return _newest(series)


def _newest(series: str) -> Kernel:
    version = _newest_offered(series)
    kernel = Kernel(version, cache_folder() / version)
    return kernel if kernel.folder.is_dir() else _install(kernel)


def _version_pattern(series: str) -> re.Pattern[str]:
    """6.1.0-56-amd64 (Debian 12's own) and 6.12.117+deb12-amd64 (backported)."""
    return re.compile(rf"{re.escape(series)}\.\d+(-\d+)?(\+deb12)?-{ARCHITECTURE}")


def _sort_key(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _newest_offered(series: str) -> str:
    pattern = f"^linux-image-{series}\\."
    found = run("apt-cache", "search", "--names-only", pattern, capture=True).split()
    names = {word.removeprefix("linux-image-") for word in found}
    versions = [name for name in names if _version_pattern(series).fullmatch(name)]
    if not versions:
        raise FetchError(
            f"apt offers no kernel {series} for {ARCHITECTURE}: is Debian 12's security archive"
            " (bookworm-security), where newer ones come from, among its sources?"
        )
    return max(versions, key=_sort_key)


def _install(kernel: Kernel) -> Kernel:
    """Download, unpack and prepare; the folder appears under its name when it is complete."""
    print(f"fetching kernel {kernel.version}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=kernel.folder.parent) as name:
        work = Kernel(kernel.version, Path(name) / "tree")
        work.folder.mkdir()
        # The user _apt, whom apt would download as, cannot write into root's home.
        sandbox = "APT::Sandbox::User=root"
        package = f"linux-image-{kernel.version}"
        run("apt-get", "download", "-qq", "-o", sandbox, package, cwd=Path(name))
        _unpack(next(Path(name).glob("*.deb")), work)
        bz_image = work.image.with_name(f"vmlinuz-{kernel.version}")
        work.image.write_bytes(uncompressed_kernel(bz_image.read_bytes()))
        bz_image.unlink()
        run("depmod", "-b", str(work.folder), kernel.version)
        work.folder.rename(kernel.folder)
    return kernel


def _unpack(package: Path, kernel: Kernel) -> None:
    base = f"./lib/modules/{kernel.version}/kernel"
    excludes = [f"--exclude={base}/{folder}" for folder in LEFT_OUT]
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
    ) as archive:
        subprocess.run(
            ["tar", "-x", "-C", str(kernel.folder), *excludes, "./boot", "./lib"],
            stdin=archive.stdout,
            check=True,
        )
    # Emulated CPUs take long to decompress modules (6.12 has them as .ko.xz).
    for module in kernel.modules.rglob("*.ko.xz"):
        module.with_suffix("").write_bytes(lzma.decompress(module.read_bytes()))
        module.unlink()


def uncompressed_kernel(image: bytes) -> bytes:
    """The ELF file inside a bzImage.

    The payload's place is in the setup header (Documentation/arch/x86/boot.rst: setup_sects
    0x1f1, header "HdrS" 0x202, payload_offset 0x248, payload_length 0x24c). Raises FetchError
    for anything else than a bzImage with a known compression.
    """
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise FetchError("not a bzImage: no HdrS header")
    protected_mode = (image[0x1F1] + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[protected_mode + offset : protected_mode + offset + length]
    for magic, decompress in _COMPRESSIONS.items():
        if payload.startswith(magic):
            kernel = decompress(payload)
            if not kernel.startswith(b"\x7fELF"):
                raise FetchError("the bzImage's payload is no ELF file")
            return kernel
    raise FetchError(f"bzImage: unknown compression, payload starts with {payload[:6].hex()}")


def _by_tool(*command: str) -> Callable[[bytes], bytes]:
    def decompress(payload: bytes) -> bytes:
        # The kernel's build appends the uncompressed size, four bytes that the tools refuse.
        run = subprocess.run(command, input=payload[:-4], stdout=subprocess.PIPE, check=True)
        return run.stdout

    return decompress


_COMPRESSIONS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\xfd7zXZ\x00": lambda payload: lzma.LZMADecompressor().decompress(payload),
    b"\x28\xb5\x2f\xfd": _by_tool("zstd", "-dc"),
    b"\x1f\x8b": lambda payload: zlib.decompressobj(wbits=31).decompress(payload),
    b"\x5d\x00\x00": lambda payload: lzma.LZMADecompressor().decompress(payload),
    b"\x02\x21\x4c\x18": _by_tool("lz4", "-dc"),
}


def main() -> int:
    """Fetch the kernels named on the command line and say where they are."""
    parser = argparse.ArgumentParser(description="Fetches Debian kernels for the lab.")
    parser.add_argument("series", nargs="+", help="6.1, 6.12")
    parser.add_argument("--newest", action="store_true", help="ask apt though one is cached")
    options = parser.parse_args()
    try:
        for series in options.series:
            kernel = fetch(series) if options.newest else get(series)
            print(f"{kernel.version} {kernel.folder}")
    except FetchError as error:
        print(f"kernels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
