"""The machine that is traced: its kernel, its CPUs, and what it lets us do."""

import os
import re
import time
from contextlib import AbstractContextManager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from retis_py.kernel.capabilities import capability_name
from retis_py.kernel.kallsyms import KallSyms
from retis_py.kernel.kconf import KernelConfig
from retis_py.kernel.modules import Modules
from retis_py.kernel.symbols import SymbolTable
from retis_py.kernel.tracefs import Tracefs

_NSEC = 1_000_000_000


class Machine(NamedTuple):
    """What uname(2) says, under the names of the startup event."""

    kernel_release: str
    kernel_version: str
    hardware_name: str


class ClockOffset(NamedTuple):
    """CLOCK_REALTIME minus CLOCK_MONOTONIC: ``sec`` of either sign, ``nsec`` 0 to 999,999,999."""

    sec: int
    nsec: int


class Lockdown(StrEnum):
    """How far the kernel is locked against root (kernel_lockdown(7))."""

    NONE = "none"
    INTEGRITY = "integrity"
    CONFIDENTIALITY = "confidentiality"


class ModuleState(StrEnum):
    """Where a module's code is."""

    IN_KERNEL = "in the kernel"  # loaded or built in
    NOT_LOADED = "not loaded"
    NOT_INSTALLED = "not installed"
    NOT_BUILT = "not built"


class Host:
    """Facts about this machine, each found out when first asked.

    ``root`` is where the machine's files are, ``kconf`` the file given by ``--kconf``.
    """

    def __init__(self, root: Path = Path("/"), kconf: Path | None = None) -> None:
        self.root = root
        self._kconf = kconf

    @cached_property
    def machine(self) -> Machine:
        """The running kernel, as the startup event has it."""
        uname = os.uname()
        return Machine(uname.release, uname.version, uname.machine)

    @cached_property
    def kallsyms(self) -> KallSyms:
        """Symbols by name."""
        return KallSyms(self.root / "proc/kallsyms")

    @cached_property
    def symbols(self) -> SymbolTable:
        """Addresses to symbols, for stacks."""
        return SymbolTable(self.root / "proc/kallsyms")

    @cached_property
    def config(self) -> KernelConfig:
        """The kernel's configuration. Raises :class:`UsageError` for an unusable ``--kconf``."""
        return KernelConfig.find(self._kconf, self.machine.kernel_release, self.root)

    @cached_property
    def modules(self) -> Modules:
        """Loaded and built-in modules."""
        return Modules(self.machine.kernel_release, self.root)

    def module_state(self, name: str, option: str) -> ModuleState:
        """Return where a module's code is, which ``option`` of the configuration is about."""
        value = self.config.value(option)
        if value == "y" or self.modules.available(name):
            return ModuleState.IN_KERNEL
        if value == "n":
            return ModuleState.NOT_BUILT
        if self.modules.installed(name) is False:
            return ModuleState.NOT_INSTALLED
        return ModuleState.NOT_LOADED

    def tracefs(self, allow_system_changes: bool) -> AbstractContextManager[Tracefs | None]:
        """Return :meth:`Tracefs.mounted` of this host."""
        return Tracefs.mounted(allow_system_changes, self.root)

    @property
    def is_root(self) -> bool:
        """Whether the effective user is root; what counts in the end are the capabilities."""
        return os.geteuid() == 0

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """Effective capabilities, as ``CAP_…``; one that is newer than our list as ``CAP_NUMBER``.

        Mind that CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON too.
        """
        found = re.search(r"^CapEff:\s*([0-9a-f]+)$", self._text("proc/self/status"), re.MULTILINE)
        mask = int(found[1], 16) if found else 0
        return frozenset(
            capability_name(bit) for bit in range(mask.bit_length()) if mask >> bit & 1
        )

    @cached_property
    def lockdown(self) -> Lockdown:
        """The kernel's lockdown, `none` where it has none or securityfs is not mounted."""
        found = re.search(r"\[(\w+)\]", self._text("sys/kernel/security/lockdown"))
        return Lockdown(found[1]) if found and found[1] in set(Lockdown) else Lockdown.NONE

    @property
    def lockdown_unknown(self) -> bool:
        """Whether it cannot be told how far the kernel is locked: securityfs is not mounted."""
        if self.config.is_enabled("CONFIG_SECURITY_LOCKDOWN_LSM") is False:
            return False
        try:
            return not any((self.root / "sys/kernel/security").iterdir())
        except OSError:
            return True

    def sysctl(self, name: str) -> int | None:
        """Return a number of /proc/sys (``net.core.bpf_jit_enable``); None: not ours to read."""
        text = self._text(f"proc/sys/{name.replace('.', '/')}").strip()
        return int(text) if re.fullmatch(r"-?[0-9]+", text) else None

    @cached_property
    def kprobes_unavailable(self) -> str | None:
        """Why no function can be probed (half a sentence), or None where kprobes work."""
        if self.config.is_enabled("CONFIG_KPROBES") is False:
            return "this kernel is built without kprobes (CONFIG_KPROBES)"
        if self.config.is_enabled("CONFIG_KPROBE_EVENTS") is False:
            return "this kernel is built without kprobe events (CONFIG_KPROBE_EVENTS)"
        if not (self.root / "sys/bus/event_source/devices/kprobe").exists():
            return "this kernel offers no kprobes (no perf event source of that name in /sys/bus)"
        if self._text("sys/kernel/debug/kprobes/enabled").strip() == "0":
            return "kprobes are switched off (echo 1 > /sys/kernel/debug/kprobes/enabled)"
        if self.lockdown is Lockdown.CONFIDENTIALITY:
            return "the kernel is locked down (confidentiality), which forbids kprobes"
        return None

    @cached_property
    def possible_cpus(self) -> int:
        """How many CPUs the kernel keeps per-CPU data for: the width of per-CPU map values."""
        return len(self._cpus("possible"))

    @property
    def highest_cpu(self) -> int:
        """The highest number that a CPU can have here; there may be gaps below it."""
        return max(self._cpus("possible"))

    @property
    def online_cpu_numbers(self) -> list[int]:
        """The CPUs that run now."""
        return self._cpus("online")

    def _cpus(self, which: str) -> list[int]:
        # Ranges such as 0-3,8-11 (lib/vsprintf.c, %*pbl).
        text = self._text(f"sys/devices/system/cpu/{which}").strip()
        ranges = re.findall(r"(\d+)(?:-(\d+))?", text)
        return [n for a, b in ranges for n in range(int(a), int(b or a) + 1)] or [0]

    def _text(self, path: str) -> str:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def clock_monotonic_offset() -> ClockOffset:
    """Return what to add to a CLOCK_MONOTONIC time to get the time of day.

    The realtime clock is read between two readings of the monotonic one; of several such
    triples the closest counts, which is right to some 100 ns.
    """

    def read() -> tuple[int, int]:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        realtime = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        return after - before, realtime - (before + after) // 2

    _, offset = min(read() for _ in range(10))
    return ClockOffset(*divmod(offset, _NSEC))
