"""What this kernel and user can do, so that tests ask for capabilities and not for kernels.

A test whose capability is missing is skipped; where ``RETIS_NO_SKIP`` (names with commas between)
lists the capability, the test fails instead: there it must not be missing.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vm import openvswitch


def require(name: str) -> None:
    """Skip or fail the running test when the capability ``name`` is missing."""
    reason = CAPABILITIES[name]()
    if reason is None:
        return
    message = f"{name}: {reason}"
    if name in must_not_skip():
        pytest.fail(f"{message} (RETIS_NO_SKIP says that it is here)", pytrace=False)
    pytest.skip(message)


def must_not_skip() -> set[str]:
    """The capabilities in RETIS_NO_SKIP; a name that does not exist is an error."""
    names = {name for name in os.environ.get("RETIS_NO_SKIP", "").split(",") if name}
    if unknown := names - CAPABILITIES.keys():
        raise pytest.UsageError(f"RETIS_NO_SKIP: no such capability: {', '.join(sorted(unknown))}")
    return names


def _root() -> str | None:
    return None if os.geteuid() == 0 else "not root"


def _btf() -> str | None:
    path = Path("/sys/kernel/btf/vmlinux")
    return None if path.exists() else f"no {path} (CONFIG_DEBUG_INFO_BTF)"


def _kprobes() -> str | None:
    # The kernel registers this event source when it has CONFIG_KPROBE_EVENTS.
    path = Path("/sys/bus/event_source/devices/kprobe")
    return None if path.exists() else "the kernel has no kprobes (CONFIG_KPROBES)"


def _modules() -> str | None:
    if not Path("/proc/modules").exists():
        return "the kernel loads no modules (CONFIG_MODULES)"
    path = Path("/lib/modules") / os.uname().release
    return None if path.is_dir() else f"no {path}"


def _tracefs() -> str | None:
    # Readable functions: tracefs alone may be mounted where a lock-down hides them.
    path = Path("/sys/kernel/tracing/available_filter_functions")
    try:
        with path.open() as functions:
            functions.read(1)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _openvswitch() -> str | None:
    if openvswitch.cached() is None:
        return f"no build in {openvswitch.cache_folder()}; run tests/vm/openvswitch.py"
    if Path("/sys/module/openvswitch").exists():
        return None
    probe = ["modprobe", "--dry-run", "--quiet", "openvswitch"]
    if shutil.which(probe[0]) is None or subprocess.run(probe, check=False).returncode != 0:
        return "the kernel has no module openvswitch"
    return None


# Each returns why the capability is missing, or None.
CAPABILITIES: dict[str, Callable[[], str | None]] = {
    "root": _root,
    "btf": _btf,
    "kprobes": _kprobes,
    "modules": _modules,
    "tracefs": _tracefs,
    "openvswitch": _openvswitch,
}
