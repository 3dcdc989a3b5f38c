"""The machine report: what of this machine helps to collect, and which collectors can run."""

from collections.abc import Sequence
from dataclasses import dataclass

from retis_py import __version__
from retis_py.collect import trial
from retis_py.collect.features import Feature, Machine, features_of
from retis_py.collect.libraries import Library, find_bcc, find_libbpf
from retis_py.collect.prerequisites import PRIVILEGES, Privilege, check_collecting
from retis_py.collectors.collector import Collector
from retis_py.collectors.registry import CollectorOptions, all_collectors
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from retis_py.probes.probe import ProbeType, parse_probe
from retis_py.probes.refusal import refusal
from retis_py.probes.resolve import Resolver

UNKNOWN = "?"
"""What people are shown of what cannot be told."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the kernel; ``value`` is None where it cannot be seen, ``text`` says why.

    ``shown`` is the value for people, in a word.
    """

    name: str
    title: str
    value: str | int | None
    shown: str
    text: str


@dataclass(frozen=True, slots=True)
class CollectorReport:
    """Whether a collector can run.

    ``reason`` is what ``collect`` ends with where it cannot, ``own_reason`` the part of it that is
    the collector's own: the same, or what else would be in its way, or None. ``limits`` says what
    it cannot do although it runs.
    """

    name: str
    summary: str
    reason: str | None
    own_reason: str | None
    limits: str | None

    @property
    def available(self) -> bool:
        """Whether it can run."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything; ``obstacle`` says why nothing at all can be collected, as ``collect`` does."""

    version: str
    kernel_release: str
    kernel_version: str
    architecture: str
    features: Sequence[Feature]
    settings: Sequence[Setting]
    privileges: Sequence[tuple[Privilege, bool]]
    libraries: Sequence[Library]
    obstacle: str | None
    collectors: Sequence[CollectorReport]


def make_report(host: Host) -> Report:
    """Look at the machine. Nothing is changed on it; what is tried is gone at once.

    Raises:
        UsageError: the kernel configuration named by ``--kconf`` cannot be used.
    """
    machine = Machine.of(host)
    features = features_of(machine)
    libraries = [find_bcc(), find_libbpf()]
    obstacle = _obstacle(machine)
    # What collect finds out only when the plan is made.
    later = next((library.missing for library in libraries if library.missing), None)
    return Report(
        version=__version__,
        kernel_release=host.machine.kernel_release,
        kernel_version=host.machine.kernel_version,
        architecture=host.machine.hardware_name,
        features=features,
        settings=_settings(host),
        privileges=[(privilege, privilege.is_held(host)) for privilege in PRIVILEGES],
        libraries=libraries,
        obstacle=obstacle or later,
        collectors=[
            _report(collector, machine, obstacle, later)
            for collector in all_collectors(CollectorOptions())
        ],
    )


def _obstacle(machine: Machine) -> str | None:
    try:
        check_collecting(machine.host)
    except MissingPrerequisite as error:
        return str(error)
    return machine.no_types


# Settings

_UNPRIVILEGED = "kernel.unprivileged_bpf_disabled"
_JIT = "net.core.bpf_jit_enable"


def _settings(host: Host) -> list[Setting]:
    lockdown = Setting("lockdown", "lockdown", host.lockdown.value, host.lockdown.value, "")
    if host.lockdown_unknown:
        why = "securityfs, which tells, is not mounted at /sys/kernel/security"
        lockdown = Setting("lockdown", "lockdown", None, UNKNOWN, why)
    return [
        lockdown,
        _sysctl(host, _UNPRIVILEGED, "unprivileged BPF", {0: "on", 1: "off", 2: "off"}),
        _sysctl(host, _JIT, "BPF JIT", {0: "off", 1: "on", 2: "on"}),
    ]


def _sysctl(host: Host, key: str, title: str, words: dict[int, str]) -> Setting:
    name = key.rpartition(".")[2]
    value = host.sysctl(key)
    if value is not None:
        return Setting(name, title, value, words.get(value, UNKNOWN), f"{key} is {value}")
    if (host.root / "proc/sys" / key.replace(".", "/")).exists():
        return Setting(name, title, None, UNKNOWN, f"{key} is for root only to read")
    return Setting(name, title, None, UNKNOWN, f"this kernel has no {key}")


# Collectors


def _report(
    collector: Collector, machine: Machine, obstacle: str | None, later: str | None
) -> CollectorReport:
    own = None
    if machine.types is not None:
        own = _own_reason(collector, machine, machine.types, attachable=obstacle is None)
    reason = obstacle or own or later
    limits = collector.limits(machine.host) if reason is None else None
    return CollectorReport(collector.name, collector.summary, reason, own, limits)


def _own_reason(
    collector: Collector, machine: Machine, types: Types, attachable: bool
) -> str | None:
    """Return why the collector cannot run, or its probes cannot be attached, or None."""
    try:
        collector.check(machine.host, types)
        if attachable:
            _check_probes(collector, machine, types)
    except RetisError as error:
        return str(error)
    return None


def _check_probes(collector: Collector, machine: Machine, types: Types) -> None:
    resolver = Resolver(machine.host, types, collector.feeds, machine.tracefs)
    for probe in resolver.resolve(parse_probe(text) for text in collector.probes()):
        if probe.type is ProbeType.RAW_TRACEPOINT:
            continue  # in the kernel's types, and of a kind that was tried
        try:
            trial.probe_function(probe.address)
        except OSError as error:
            raise refusal(probe, error) from error
