"""What of the kernel helps to collect, a feature at a time: is it there, and what if not.

What can be tried is tried (:mod:`retis_py.collect.trial`) where this process may; else the kernel's
configuration and types have to do, and what they leave open is said to be unknown.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retis_py.collect import trial
from retis_py.collect.prerequisites import NO_RING, missing_privileges, ring_unavailable
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes.available import Types, without_kprobes
from retis_py.probes.refusal import kprobe_refusal, uprobe_refusal

_UNTRIED = "not tried, which needs CAP_BPF and CAP_PERFMON"

# Reads all that is needed of a list to know that it can be read.
_SOME = 64


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that a kernel has or has not.

    ``available`` is None where it cannot be told. ``text`` says why it is not there and what to do
    about it, or more about what is; ``facts`` are that for programs.
    """

    name: str
    title: str
    available: bool | None
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and what was found out to ask more; ``types`` is None with its reason beside."""

    host: Host
    tracefs: Tracefs | None
    types: Types | None
    no_types: str | None

    @staticmethod
    def of(host: Host) -> "Machine":
        """Load the types of the kernel."""
        # Tracefs.find would look into debugfs, and mount tracefs there.
        points = [host.root / p.relative_to("/") for p in Tracefs.mount_points(host.root)]
        readable = [p for p in points if os.access(p / "available_events", os.R_OK)]
        tracefs = Tracefs(readable[0], host.root / "sys/kernel/debug") if readable else None
        try:
            return Machine(host, tracefs, Types(Btf.vmlinux()), None)
        except MissingPrerequisite as error:
            return Machine(host, tracefs, None, str(error))


def features_of(machine: Machine) -> list[Feature]:
    """Return everything there is to know, in the order in which to show it."""
    host = machine.host
    uprobes = _uprobes(host)  # first, since the kernel takes longest to remove it
    return [
        _btf(machine),
        _kprobes(host),
        _kprobe_multi(host),
        _raw_tracepoints(host),
        uprobes,
        _ring_buffer(machine),
        _symbols(host),
        _tracefs(machine),
    ]


# Types

# Those that collectors read.
_READ_MODULES = ("nf_conntrack", "nf_tables", "openvswitch", "mac80211")


def _btf(machine: Machine) -> Feature:
    modules = machine.host.modules
    have = modules.with_btf()
    lack = modules.all_loaded() - have
    facts = {"modules": sorted(have), "modules_without": sorted(lack)}
    if machine.types is None:
        return Feature("btf", "BTF", False, machine.no_types or "", facts)
    text = "vmlinux"
    if have:
        read = [name for name in _READ_MODULES if name in have]
        which = f", {', '.join(read)} among them" if read else ""
        text += f" and {len(have)} module{'s' if len(have) > 1 else ''}{which}"
    missed = [name for name in _READ_MODULES if name in lack]
    if missed:
        text += f"; none of {', '.join(missed)}: CONFIG_DEBUG_INFO_BTF_MODULES is needed"
    elif not have and not lack:
        text += "; no module is loaded"
    return Feature("btf", "BTF", True, text, facts)


# Probes


def _kprobes(host: Host) -> Feature:
    name = title = "kprobes"
    if host.kprobes_unavailable:
        return Feature(name, title, False, without_kprobes(host.kprobes_unavailable))
    return _tried(
        name, title, host, lambda: trial.probe_function(_quiet_function(host)), _kprobe_words
    )


def _kprobe_multi(host: Host) -> Feature:
    name, title = "kprobe_multi", "kprobe.multi"
    instead = "functions are probed one by one, which takes longer"
    if host.config.is_enabled("CONFIG_FPROBE") is False:
        if host.kprobes_unavailable:
            instead = "of no use without kprobes"
        why = f"this kernel is built without it (CONFIG_FPROBE): {instead}"
        return Feature(name, title, False, why)
    if host.kprobes_unavailable:
        return Feature(name, title, None, "of no use without kprobes")
    found = _tried(name, title, host, lambda: trial.probe_functions_at_once(_quiet_function(host)))
    if found.available is False:
        return Feature(name, title, False, f"{found.text}: {instead}")
    return found


def _raw_tracepoints(host: Host) -> Feature:
    name, title = "raw_tracepoints", "raw tracepoints"
    if host.config.is_enabled("CONFIG_BPF_EVENTS") is False:
        why = "this kernel is built without them (CONFIG_BPF_EVENTS): use one that has them"
        return Feature(name, title, False, why)
    return _tried(name, title, host, trial.attach_raw_tracepoint)


def _uprobes(host: Host) -> Feature:
    name = title = "uprobes"
    without = "ovs-vswitchd cannot be probed (--ovs-track)"
    if host.config.is_enabled("CONFIG_UPROBE_EVENTS") is False:
        why = f"this kernel is built without them (CONFIG_UPROBE_EVENTS): {without}"
        return Feature(name, title, False, why)
    found = _tried(name, title, host, trial.probe_user_space, uprobe_refusal)
    if found.available is False:
        return Feature(name, title, False, f"{found.text}; {without}")
    return found


def _ring_buffer(machine: Machine) -> Feature:
    name, title = "ring_buffer", "BPF ring buffer"
    if not missing_privileges(machine.host):
        try:
            reason = ring_unavailable()
        except MissingPrerequisite as error:  # libbpf
            reason = str(error)
        return Feature(name, title, reason is None, reason or "")
    kinds = (machine.types.vmlinux.enum("bpf_map_type") or {}) if machine.types else {}
    if kinds and "BPF_MAP_TYPE_RINGBUF" not in kinds:
        return Feature(name, title, False, NO_RING)
    return Feature(name, title, None, _UNTRIED)


def _quiet_function(host: Host) -> int:
    address = trial.quiet_function(host.kallsyms)
    if address is None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    return address


def _kprobe_words(error: OSError) -> str:
    return kprobe_refusal() if error.errno == errno.EACCES else _words(error)


def _words(error: OSError) -> str:
    return os.strerror(error.errno or 0)


def _tried(
    name: str,
    title: str,
    host: Host,
    attempt: Callable[[], None],
    words: Callable[[OSError], str] = _words,
) -> Feature:
    if missing_privileges(host):
        return Feature(name, title, None, _UNTRIED)
    try:
        attempt()
    except RetisError as error:
        return Feature(name, title, False, str(error))
    except OSError as error:
        return Feature(name, title, False, f"the kernel refuses it ({words(error)})")
    return Feature(name, title, True)


# Names


def _symbols(host: Host) -> Feature:
    name, title = "kernel_symbols", "kernel symbols"
    try:
        hidden = host.kallsyms.hidden
    except MissingPrerequisite as error:
        return Feature(name, title, False, str(error))
    if not hidden:
        return Feature(name, title, True)
    try:
        host.kallsyms.addresses(())
    except MissingPrerequisite as error:
        return Feature(name, title, False, f"{error}; without, no kprobes and no names in stacks")
    return Feature(name, title, True)


def _tracefs(machine: Machine) -> Feature:
    name = title = "tracefs"
    host = machine.host
    points = Tracefs.mount_points(host.root)
    facts: dict[str, Any] = {"path": str(points[0]) if points else None}
    if not points:
        if host.config.is_enabled("CONFIG_FTRACE") is False:
            return Feature(
                name, title, False, "this kernel is built without it (CONFIG_FTRACE)", facts
            )
        why = (
            "not mounted, so that wildcards find less: mount it (mount -t tracefs none"
            " /sys/kernel/tracing), or have --allow-system-changes do so for the time being"
        )
        return Feature(name, title, False, why, facts)
    if machine.tracefs is None:
        why = (
            f"mounted at {points[0]}, and not for this user to read: run as root, or let a group"
            " read it (mount -o remount,gid=GROUP,mode=750)"
        )
        return Feature(name, title, False, why, facts)
    facts["path"] = str(machine.tracefs.path)
    facts["tracepoints"] = True
    facts["functions"] = _can_read(machine.tracefs.path / "available_filter_functions")
    text = f"at {machine.tracefs.path}"
    if not facts["functions"]:
        text += "; its list of functions cannot be read"
    return Feature(name, title, True, text, facts)


def _can_read(path: Path) -> bool:
    try:
        with path.open("rb", buffering=0) as file:
            file.read(_SOME)
    except OSError:
        return False
    return True
