"""What every collection needs, whatever it collects: asked by ``collect`` and by ``inspect``."""

import errno
import os

from msgspec import Struct

from retis_py.collect import trial
from retis_py.collect.headers import check_architecture
from retis_py.errors import MissingPrerequisite
from retis_py.kernel.host import Host, Lockdown

_ALL_OF_BPF = "CAP_SYS_ADMIN"

NO_RING = "this kernel has no BPF ring buffer: Linux 5.8 or later is needed"

# To those who hold the capabilities.
_FORBIDDEN = (
    "the kernel does not let this process {do} although it holds the capabilities: run it as root"
    " of the host, not in a user namespace, nor in a container that forbids bpf(2)"
)


class Privilege(Struct, frozen=True):
    """A capability and what it is good for; nothing is collected without a ``needed`` one."""

    name: str
    purpose: str
    needed: bool = False
    in_sys_admin: bool = False  # CAP_SYS_ADMIN stands for it too

    def is_held(self, host: Host) -> bool:
        """Whether this process has it."""
        held = host.capabilities
        return self.name in held or (self.in_sys_admin and _ALL_OF_BPF in held)


PRIVILEGES = (
    Privilege("CAP_BPF", "make maps, load programs", needed=True, in_sys_admin=True),
    Privilege("CAP_PERFMON", "trace the kernel", needed=True, in_sys_admin=True),
    Privilege("CAP_SYSLOG", "see functions' addresses: kprobes, names in stack traces"),
    Privilege("CAP_NET_ADMIN", "read nftables' rules, switch their tracing on"),
    Privilege("CAP_SYS_PTRACE", "find ovs-vswitchd where it runs as another user"),
    Privilege(
        _ALL_OF_BPF,
        "probe ovs-vswitchd (--ovs-track), mount tracefs; kprobes where the sysctl"
        " kernel.perf_event_paranoid is above 2",
    ),
    Privilege("CAP_DAC_READ_SEARCH", "read tracefs where it is another user's"),
    Privilege("CAP_SYS_NICE", "drain events at a real-time priority"),
    Privilege("CAP_IPC_LOCK", "keep memory from being swapped out"),
)
"""The capabilities that matter (capabilities(7)); docs/privileges.md says more of each."""


def missing_privileges(host: Host) -> list[str]:
    """Return the capabilities without which nothing is collected, and that we lack."""
    return [p.name for p in PRIVILEGES if p.needed and not p.is_held(host)]


def check_collecting(host: Host, perf_buffer: bool = False) -> None:
    """Check that programs can be compiled for this machine, and that the kernel lets us trace it.

    With ``perf_buffer`` events come by other means than the BPF ring buffer.

    Raises:
        MissingPrerequisite: nothing can be collected here; says why.
    """
    check_architecture(os.uname().machine)
    missing = missing_privileges(host)
    if missing:
        raise MissingPrerequisite(
            f"collecting needs privileges that this process lacks ({', '.join(missing)}):"
            " run it as root, for example with sudo"
        )
    if host.lockdown is Lockdown.CONFIDENTIALITY:
        raise MissingPrerequisite(
            "the kernel is locked down (confidentiality), which forbids programs to read its"
            " memory: boot it without lockdown=confidentiality"
        )
    reason = (None if perf_buffer else ring_unavailable()) or programs_unavailable()
    if reason is not None:
        raise MissingPrerequisite(reason)


def ring_unavailable() -> str | None:
    """Try to make a ring buffer; return why it cannot be had and what to do, or None."""
    try:
        trial.make_ring()
    except OSError as error:
        if _is_forbidden(error):
            return _FORBIDDEN.format(do="make BPF maps")
        if error.errno == errno.EINVAL:
            return NO_RING
        return f"the kernel refuses a BPF ring buffer ({_words(error)}): see its log (dmesg)"
    return None


def programs_unavailable() -> str | None:
    """Try to load a tracing program; return why it cannot be and what to do, or None."""
    try:
        trial.load_program()
    except OSError as error:
        if _is_forbidden(error):
            return _FORBIDDEN.format(do="load BPF programs")
        return (
            f"the kernel refuses a program that reads its memory ({_words(error)}): look whether"
            " it is locked down (/sys/kernel/security/lockdown) or older than Linux 5.8"
        )
    return None


def _is_forbidden(error: OSError) -> bool:
    return error.errno in (errno.EPERM, errno.EACCES)


def _words(error: OSError) -> str:
    return os.strerror(error.errno or 0)
