"""``retis inspect``: what this machine offers."""

import logging
import shutil
from collections.abc import Iterable, Iterator

import click

from retis_py.cli.globals import GlobalOptions
from retis_py.errors import UsageError
from retis_py.events.escape import escape
from retis_py.kernel.btf import Btf
from retis_py.kernel.host import Host
from retis_py.kernel.tracefs import Tracefs
from retis_py.probes.available import UNKNOWN_GROUP, Available, Catalogue, Types
from retis_py.probes.probe import REGISTER_ARGUMENTS, ProbeRequest, ProbeType, parse_probe

log = logging.getLogger(__name__)

_EVERYTHING = "*"

# What an argument is called that a probe takes along (FED_FIELDS).
_LABELS = {
    "skb": "skb",
    "dev": "device",
    "net": "net",
    "sk": "socket",
    "drop_reason": "drop reason",
}


@click.command("inspect")
@click.option(
    "-p",
    "--probe",
    "patterns",
    metavar="[PATTERN]",
    multiple=True,
    is_flag=False,
    flag_value=_EVERYTHING,
    help="List the probes that can be attached: all, or those that PATTERN stands for, as in "
    "'retis collect -p': 'tp:net:*', 'kprobe:tcp_*', 'ip_rcv'. May be given several times.",
)
@click.option(
    "-v", "--verbose", is_flag=True, help="With --probe: show the arguments of each probe too."
)
@click.option(
    "--allow-system-changes",
    is_flag=True,
    help="Allow changes to the system that help, undone at the end: mounting tracefs.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Without --probe: print the report as one JSON object."
)
@click.pass_obj
def inspect_command(
    options: GlobalOptions,
    *,
    patterns: tuple[str, ...],
    verbose: bool,
    allow_system_changes: bool,
    as_json: bool,
) -> None:
    """Show what this machine offers to collect with; with --probe, what can be probed on it.

    Without options: what the kernel, its settings and this user's privileges allow, and which
    collectors can run, or why not and what to do about it. Nothing is changed for that.

    Behind each probe stands what a collection gets from it: skb (the packet), device, net (the
    network namespace), socket, drop reason; and in brackets the module that it belongs to. A
    function without any of these is probed with '/stack-context'.
    """
    host = Host(kconf=options.kconf)
    if not patterns:
        if verbose or allow_system_changes:
            raise UsageError("--verbose and --allow-system-changes are about --probe: give -p too")
        _report(host, as_json)
        return
    if as_json:
        raise UsageError("--json is about the report of the machine: leave --probe out")
    with host.tracefs(allow_system_changes) as tracefs:
        catalogue = Catalogue(host, Types(Btf.vmlinux()), tracefs)
        requests = list(_requests(patterns, host))
        found = {str(a): a for request in requests for a in catalogue.matching(request)}
        _say_what_is_not_known(host, tracefs, catalogue, {request.type for request in requests})
    shown = [(available, available.fed) for available in found.values()]
    click.echo("\n".join(_with_arguments(shown) if verbose else (_line(*one) for one in shown)))
    with_packet = sum("skb" in fed.values() for _, fed in shown)
    log.info("%s probe(s), %s with a packet", f"{len(shown):,}", f"{with_packet:,}")


def _report(host: Host, as_json: bool) -> None:
    # Imported where they are used: listing probes does without.
    from retis_py.cli.report_text import report_json, report_text  # noqa: PLC0415
    from retis_py.collect.report import make_report  # noqa: PLC0415

    report = make_report(host)
    width = shutil.get_terminal_size((100, 0)).columns
    click.echo(report_json(report) if as_json else report_text(report, max(width, 60)).rstrip())


def _requests(patterns: Iterable[str], host: Host) -> Iterator[ProbeRequest]:
    for pattern in patterns:
        if pattern != _EVERYTHING:
            yield parse_probe(pattern)
            continue
        yield ProbeRequest(ProbeType.RAW_TRACEPOINT, "*:*")
        if host.kprobes_unavailable:
            log.warning("no functions are listed: %s", host.kprobes_unavailable)
        else:
            yield ProbeRequest(ProbeType.KPROBE, "*")


def _say_what_is_not_known(
    host: Host, tracefs: Tracefs | None, catalogue: Catalogue, types: set[ProbeType]
) -> None:
    missing = []
    if ProbeType.RAW_TRACEPOINT in types and catalogue.tracepoint_names is None:
        missing.append(f"which groups tracepoints belong to (shown as {UNKNOWN_GROUP})")
    if types - {ProbeType.RAW_TRACEPOINT} and catalogue.traceable is None:
        missing.append("which functions refuse to be probed")
    if not missing:
        return
    if tracefs is not None:
        why = f"{tracefs.path} cannot be read, not even in part"
        if catalogue.tracepoint_names is not None:
            why = f"{tracefs.path} does not let its list of functions be read"
    elif host.is_root:
        why = "tracefs is not mounted; --allow-system-changes mounts it for the time being"
    else:
        why = "tracefs, which tells, is for root only: try with sudo"
    log.warning("not known: %s: %s", " and ".join(missing), why)


def _line(available: Available, fed: dict[int, str]) -> str:
    notes = [", ".join(_LABELS[field] for field in fed.values())]
    if available.module:
        notes.append(f"[{available.module}]")
    if available.count > 1:
        notes.append(f"({available.count} functions of this name)")
    return escape(f"{available!s:<55} {' '.join(filter(None, notes))}".rstrip())


def _with_arguments(shown: Iterable[tuple[Available, dict[int, str]]]) -> Iterator[str]:
    for available, fed in shown:
        yield _line(available, fed)
        if available.arguments is None:
            yield "    arguments not known: the type information (BTF) lacks them"
            continue
        for position, argument in enumerate(available.arguments):
            note = _LABELS[fed[position]] if position in fed else ""
            if available.type is not ProbeType.RAW_TRACEPOINT and position >= REGISTER_ARGUMENTS:
                note = "out of reach, in no register"
            declaration = f"{argument.type} {argument.name}".replace("* ", "*").strip()
            yield escape(f"    {declaration:<51} {note}".rstrip())
        if not available.arguments:
            yield "    no arguments"
