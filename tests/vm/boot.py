"""Runs one command in a kernel of the lab.

``python tests/vm/boot.py 6.1 -- .venv/bin/pytest tests/functional`` boots Debian's newest 6.1 in
QEMU over this machine's file system, runs the command as root in the checkout, and exits with
its exit code. What the guest writes is gone with it, but for the folder that ``--rwdir`` names:
the guest finds its path in ``$RETIS_VM_OUT``. Emulated CPUs: a boot takes about 10 s, and times
measured in a guest mean nothing. On a busy machine a guest with one CPU (``RETIS_VM_CPUS=1``)
is faster than one with two, which wait for each other.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # when run as a script

from vm import cache, compile_service, kernels, openvswitch  # noqa: E402

BOOT_FAILED = 255  # vng's exit code for a guest that never got to the command
TIMED_OUT = 124  # as of timeout(1)

# Each measured to save time (the first two: reference/kernel-lab.md). The emulator translates code
# anew wherever it is mapped, so that programs at chosen addresses take up to three times as long to
# start.
KERNEL_OPTIONS = ("cryptomgr.notests", "mitigations=off", "norandmaps")
# -cpu max, vng's own, fails at times. Each of vng's six serial devices has the emulator wait for 64
# queues; with the two ports that they use it takes a third of the time in the host's kernel.
QEMU_OPTIONS = "-cpu qemu64,-svm -global virtio-serial-device.max_ports=2"

# What the machine's packages have each Python do at its start: half a second of it in a guest,
# which takes them out of its own layer over /usr.
_HOOKS = "/usr/lib/python3/dist-packages/*.pth /usr/local/lib/python3*/dist-packages/*.pth"

# vng and the programs it calls, installed beside this Python; and modprobe.
_SEARCH_PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Guest:
    """How to boot: kernel, the shared folder, seconds until the guest is killed."""

    kernel: kernels.Kernel
    shared: Path
    time_limit: float = 600.0
    verbose: bool = False

    @property
    def compiling(self) -> Path:
        """Where programs are handed over to be compiled."""
        return self.shared / "compile"


def run(guest: Guest, command: Sequence[str], environment: dict[str, str] | None = None) -> int:
    """Boot, run ``command``, stream its output to this process's stdout.

    Returns the command's exit code, TIMED_OUT, or BOOT_FAILED when two boots failed or the guest
    died under the command.
    """
    started = guest.shared / "started"
    _write_script(guest, command, environment or {})
    with compile_service.serving(guest.compiling):
        for attempt in (1, 2):
            started.unlink(missing_ok=True)
            code = _boot(guest)
            if started.exists() or code == TIMED_OUT:
                break
            print(f"boot: {guest.kernel.version} did not boot (attempt {attempt})", file=sys.stderr)
            code = BOOT_FAILED
    if code == BOOT_FAILED and started.exists():
        print("boot: the guest died; --verbose shows the kernel's log", file=sys.stderr)
    return code


def _write_script(guest: Guest, command: Sequence[str], environment: dict[str, str]) -> None:
    """The command as a script in the shared folder: a kernel command line is too short for it."""
    variables = {
        "PATH": f"{ROOT}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp/home",  # root's own is read-only in the guest
        # In /tmp there is what programs of this machine make meanwhile, and remove.
        "TMPDIR": "/var/tmp",
        "LANG": "C.UTF-8",
        "RETIS_VM_OUT": str(guest.shared),
        "RETIS_OVS_CACHE": str(openvswitch.cache_folder()),
        "RETIS_COMPILE_FOLDER": str(guest.compiling),
        **environment,
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines = [
        *exports,
        'mkdir -p "$HOME"',
        f"rm -f {_HOOKS}",
        f"cd {shlex.quote(str(ROOT))} || exit 1",
        ': > "$RETIS_VM_OUT/started"',
        f"exec {shlex.join(command)}",
    ]
    (guest.shared / "run.sh").write_text("\n".join(lines) + "\n")


def _boot(guest: Guest) -> int:
    # vng takes over stdin and its terminal settings, and needs pipes for its output.
    process = subprocess.Popen(
        _vng_command(guest),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PATH": _SEARCH_PATH},
    )
    expired = []

    def expire() -> None:
        expired.append(True)
        os.killpg(process.pid, signal.SIGKILL)

    timer = Timer(guest.time_limit, expire)
    timer.start()
    try:
        with process:
            try:
                _copy(process.stdout)
            except BaseException:  # Ctrl-C too: no emulator stays behind
                os.killpg(process.pid, signal.SIGKILL)
                raise
    finally:
        timer.cancel()
    if expired:
        print(f"boot: stopped after {guest.time_limit:.0f} s", file=sys.stderr)
        return TIMED_OUT
    return process.returncode


def _copy(output: IO[bytes] | None) -> None:
    while output and (some := os.read(output.fileno(), 65536)):
        sys.stdout.buffer.write(some)
        sys.stdout.flush()


def _vng_command(guest: Guest) -> list[str]:
    vng = shutil.which("vng", path=_SEARCH_PATH)
    if vng is None:
        raise cache.FetchError("'vng' (virtme-ng) is not installed; run 'make setup'")
    return [
        vng,
        *("--run", str(guest.kernel.image), "--disable-kvm", "--force-9p", "--user", "root"),
        *("--cpus", os.environ.get("RETIS_VM_CPUS", "2"), "--memory", "2G"),
        f"--qemu-opts={QEMU_OPTIONS}",
        *(f"--append={option}" for option in KERNEL_OPTIONS),
        *("--overlay-rwdir", str(ROOT), "--rwdir", str(guest.shared)),
        *("--rodir", f"/boot={guest.kernel.image.parent}"),  # its configuration, System.map
        *(["--verbose"] if guest.verbose else []),
        *("--exec", f"sh {shlex.quote(str(guest.shared / 'run.sh'))}"),
    ]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs one command in a kernel of the lab.")
    parser.add_argument("series", help="6.1 or 6.12")
    parser.add_argument("--rwdir", type=Path, help="folder the guest may write, its $RETIS_VM_OUT")
    parser.add_argument("--timeout", type=float, default=600, help="seconds (default: 600)")
    parser.add_argument("--verbose", action="store_true", help="with the kernel's log")
    parser.add_argument("command", nargs="+", help="after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retis-vm-") as temporary:
        shared = (options.rwdir or Path(temporary)).absolute()
        shared.mkdir(parents=True, exist_ok=True)
        try:
            kernel = kernels.get(options.series)
            guest = Guest(kernel, shared, options.timeout, options.verbose)
            return run(guest, options.command)
        except cache.FetchError as error:
            print(f"boot: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
