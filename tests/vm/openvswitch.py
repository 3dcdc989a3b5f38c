"""Open vSwitch with USDT probes for the lab: built once, kept outside the checkout.

``python tests/vm/openvswitch.py`` makes sure that ``~/.cache/retis-py/openvswitch`` (or
``$RETIS_OVS_CACHE``) holds a build, since Debian's own binaries have no probes::

    4.0.0/ovs-vswitchd, ovsdb-server, ovsdb-tool, ovs-vsctl, ovs-appctl, ovs-ofctl, ovs-dpctl
    4.0.0/vswitch.ovsschema

The source comes from Debian's archive: the mirror that apt uses, but releases newer than this
machine's. It takes about a minute on two CPUs.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run as a script

from vm import cache
from vm.cache import FetchError, run

VERSION = "4.0.0"

# Releases of Debian that have it, and what its orig.tar.xz must hash to.
SUITES = ("testing", "sid")
SHA256 = "2b4d75ed077e94bc649ffbc9be5f9f822db82cf266c920cb3060f94db9d6d796"

PROGRAMS = (
    "vswitchd/ovs-vswitchd",
    "ovsdb/ovsdb-server",
    "ovsdb/ovsdb-tool",
    "utilities/ovs-vsctl",
    "utilities/ovs-appctl",
    "utilities/ovs-ofctl",
    "utilities/ovs-dpctl",
)
SCHEMA = "vswitchd/vswitch.ovsschema"

# Debian's key for its archive: any release of Debian has the keys of those that follow.
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# The release brings what these would make; unpacked, its files' times may say otherwise.
_NO_AUTOTOOLS = tuple(
    f"{tool}=:" for tool in ("AUTOMAKE", "AUTOCONF", "ACLOCAL", "AUTOHEADER", "AUTOM4TE")
)

# What is generated has to be there first: without dependency tracking, which takes as long as
# compiling, make does not know who includes it.
_GENERATE = """include Makefile
generate: config.h $(BUILT_SOURCES)
"""


@dataclass(frozen=True, slots=True)
class Build:
    """Open vSwitch in the cache."""

    version: str
    folder: Path

    @property
    def daemon(self) -> Path:
        return self.folder / "ovs-vswitchd"

    @property
    def schema(self) -> Path:
        return self.folder / Path(SCHEMA).name


def cache_folder() -> Path:
    """Where builds are kept."""
    return cache.folder("openvswitch", "RETIS_OVS_CACHE")


def get() -> Build:
    """The build in the cache; built when there is none. Raises FetchError."""
    with cache.locked(cache_folder()):
        return cached() or _fetch_and_build()


def cached() -> Build | None:
    """The build in the cache."""
    build = Build(VERSION, cache_folder() / VERSION)
    return build if build.folder.is_dir() else None


def _fetch_and_build() -> Build:
    problems = []
    for suite in SUITES:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=cache_folder()) as name:
            try:
                archive = _download(suite, Path(name))
            except FetchError as error:
                problems.append(f"{suite}: {error}")
                continue
            return _install(archive)
    raise FetchError(f"no source of Open vSwitch {VERSION} ({'; '.join(problems)})")


def _download(suite: str, folder: Path) -> Path:
    """The release's tar archive, by an apt that knows ``suite`` and nothing else."""
    print(f"fetching Open vSwitch {VERSION} ({suite})", file=sys.stderr)
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        (folder / name).mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb-src [signed-by={_KEYRING}] {_mirror()} {suite} main\n")
    settings = {
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": folder / "parts",
        "APT::Sandbox::User": "root",  # who may write here
        # A mirror that lags behind will do: the source is the one with our checksum.
        "Acquire::Check-Valid-Until": "false",
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]
    run("apt-get", "update", "-qq", *options)
    run("apt-get", "source", "-qq", "--download-only", *options, "openvswitch", cwd=folder)
    return checked(folder)


def checked(folder: Path) -> Path:
    """The archive that was fetched. Raises FetchError unless it is the one we know."""
    archive = folder / f"openvswitch_{VERSION}.orig.tar.xz"
    if not archive.exists():
        found = ", ".join(path.name for path in folder.glob("*.orig.tar.*"))
        raise FetchError(f"it has another release ({found})")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise FetchError(f"{archive.name} has another checksum than ours")
    return archive


def _mirror() -> str:
    """The archive that this machine's own release comes from."""
    selected = ("Created-By: Packages", "Label: Debian", "Component: main")
    listed = run(
        "apt-get", "indextargets", "--format", "$(REPO_URI)", *selected, capture=True
    ).split()
    if not listed:
        raise FetchError("apt knows no archive of Debian; run 'apt-get update' on a Debian")
    return listed[0]


def _install(archive: Path) -> Build:
    """Unpack and build; the folder appears under its name when it is complete."""
    print(f"building Open vSwitch {VERSION} with USDT probes", file=sys.stderr)
    work = archive.parent
    run("tar", "-x", "-f", str(archive), cwd=work)
    tree = work / f"openvswitch-{VERSION}"
    _make(tree, work / "build.log")
    new = work / "installed"
    new.mkdir()
    for program in PROGRAMS:
        run("strip", "-o", str(new / Path(program).name), str(tree / program))
    shutil.copyfile(tree / SCHEMA, new / Path(SCHEMA).name)
    return Build(VERSION, new.rename(cache_folder() / VERSION))


def _make(tree: Path, log: Path) -> None:
    """Configure and compile. -O1 takes a third of the time of -O2."""
    (tree / "generate.mk").write_text(_GENERATE)
    jobs = f"-j{os.cpu_count()}"
    configure = ["./configure", "--enable-usdt-probes", "--disable-ssl", "--disable-libcapng"]
    configure += ["--disable-dependency-tracking", "--disable-shared", "CFLAGS=-O1 -g0"]
    commands = (
        [*configure, "PYTHON3=/usr/bin/python3"],
        ["make", jobs, *_NO_AUTOTOOLS, "-f", "generate.mk", "generate"],
        ["make", jobs, *_NO_AUTOTOOLS, *PROGRAMS],
    )
    with log.open("wb") as output:
        for command in commands:
            done = subprocess.run(
                command, cwd=tree, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                check=False,
            )  # fmt: skip
            if done.returncode != 0:
                tail = log.read_text(errors="replace")[-3000:]
                print(tail, file=sys.stderr)
                raise FetchError(f"'{command[0]}' of Open vSwitch exits with {done.returncode}")


def main() -> int:
    """Build it if need be and say where it is."""
    argparse.ArgumentParser(description="Builds Open vSwitch with USDT probes.").parse_args()
    try:
        build = get()
    except FetchError as error:
        print(f"openvswitch: {error}", file=sys.stderr)
        return 1
    print(f"{build.version} {build.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
