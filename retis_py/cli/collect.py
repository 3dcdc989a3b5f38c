"""``retis collect``: its command line. What it does is in collection.py."""

import signal
from contextlib import nullcontext
from pathlib import Path

import click

from retis_py.cli.globals import GlobalOptions
from retis_py.cli.importing import importing
from retis_py.cli.options import text_options
from retis_py.cli.profile_args import ProfiledCommand
from retis_py.cli.sizes import FileSize, Size
from retis_py.cli.stop import unless_ignored
from retis_py.collect.compile_cache import CompileCache
from retis_py.collect.compiler import Compiler
from retis_py.errors import UsageError
from retis_py.events.text import TextFormat

TRACKING_ENTRIES = 32768


def _split(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


@click.command("collect", cls=ProfiledCommand)
@click.option(
    "-c",
    "--collectors",
    metavar="NAME[,NAME]",
    multiple=True,
    callback=_split,
    help="Collectors to use, all of which must be able to run; 'auto' stands for those that can "
    "and is the default.",
)
@click.option(
    "-p",
    "--probe",
    "probes",
    metavar="[TYPE:]TARGET[/OPTION]",
    multiple=True,
    help="Function or tracepoint to probe: kprobe (k), kretprobe (kr) or raw_tracepoint (tp), "
    "wildcards allowed: 'ip_rcv', 'kprobe:tcp_*', 'tp:skb:kfree_skb/stack'. "
    "May be given several times.",
)
@click.option(
    "-f",
    "--filter-packet",
    "packet_filter",
    metavar="EXPRESSION",
    help="Only packets that match, in the language of pcap-filter(7): 'tcp port 443'. Each is "
    "followed from its first match on, whatever becomes of it.",
)
@click.option(
    "-m",
    "--filter-meta",
    "meta_filter",
    metavar="EXPRESSION",
    help="Only packets whose metadata match: 'sk_buff.dev.name == \"eth0\"'. With -f both must.",
)
@click.option("--stack", is_flag=True, help="Add a stack trace to the events of all probes.")
@click.option(
    "--probe-stack",
    is_flag=True,
    help="Probe the functions, too, that show in the stack traces of events; needs a filter.",
)
@click.option(
    "--skb-sections",
    metavar="NAME[,NAME]",
    multiple=True,
    callback=_split,
    help="Metadata that the collector skb adds to the packet: all, eth, meta, dataref, gso.",
)
@click.option(
    "--snaplen",
    metavar="BYTES",
    type=click.IntRange(14, 1024),
    default=255,
    show_default=True,
    help="Bytes of a packet to take at most.",
)
@click.option(
    "--nft-verdicts",
    metavar="NAME[,NAME]",
    multiple=True,
    callback=_split,
    help="Verdicts that the collector nft reports: all, continue, break, jump, goto, return, drop, "
    "accept, stolen, queue, repeat. Default: drop,accept.",
)
@click.option(
    "--ovs-track",
    is_flag=True,
    help="Follow packets of Open vSwitch to user space and back: probe ovs-vswitchd, too (USDT).",
)
@click.option(
    "--ovs-enrich-flows",
    is_flag=True,
    help="Ask ovs-vswitchd for the flows that packets hit: datapath flow and OpenFlow rules.",
)
@click.option(
    "--ovs-enrich-rate",
    metavar="COUNT",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="With --ovs-enrich-flows: requests to ovs-vswitchd a second, at most.",
)
@click.option(
    "-o",
    "--out",
    metavar="[FILE]",
    is_flag=False,
    flag_value="retis.data",
    type=click.Path(path_type=Path),
    help="Write events to FILE (default: retis.data) instead of the terminal.",
)
@click.option(
    "--out-rotate",
    type=FileSize(),
    help="With --out: write FILE.0, FILE.1, ... and begin the next one where the file would grow "
    "beyond SIZE, as in 64MB.",
)
@click.option("--print", "print_too", is_flag=True, help="With --out: show events too.")
@click.option(
    "--cmd", metavar="COMMAND", help="Run a shell command once probes are attached; stop with it."
)
@click.option(
    "--stop-after",
    metavar="COUNT",
    type=click.IntRange(min=1),
    help="Stop after that many events.",
)
@click.option(
    "--ready-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Touch FILE once everything is attached.",
)
@click.option(
    "--buffer-size",
    type=Size(),
    default="16MB",
    show_default=True,
    help="Memory for events on their way from the kernel; rounded down to a power of two.",
)
@click.option(
    "--spool-limit",
    type=FileSize(),
    help="Room on disk for events that wait to be decoded, as in 2GB. [default: 1GiB, or a tenth "
    "of what is free]",
)
@click.option(
    "--allow-system-changes",
    is_flag=True,
    help="Allow changes to the system that help, undone at the end: mounting tracefs, switching "
    "nftables' tracing on.",
)
@click.option("--print-bpf", is_flag=True, help="Print the BPF program's C text and end.")
@click.option(
    "--no-cache", is_flag=True, help="Compile the program anew, and keep no copy of it on disk."
)
@click.option("--perf-buffer", is_flag=True, hidden=True, help="Use perf buffers, for tests.")
@click.option(
    "--load-each", is_flag=True, hidden=True, help="Load a program a function, for tests."
)
@click.option(
    "--tracking-entries",
    type=click.IntRange(min=1),
    default=TRACKING_ENTRIES,
    hidden=True,
    help="Packets that can be tracked at a time, for tests.",
)
@click.option(
    "--decoders",
    type=click.IntRange(0, 64),
    hidden=True,
    help="Processes that help to decode, for tests; 0 does without, which is the default where "
    "there are up to 3 CPUs.",
)
@text_options
@click.pass_obj
def collect_command(
    options: GlobalOptions,
    *,
    collectors: tuple[str, ...],
    probes: tuple[str, ...],
    packet_filter: str | None,
    meta_filter: str | None,
    stack: bool,
    probe_stack: bool,
    skb_sections: tuple[str, ...],
    snaplen: int,
    nft_verdicts: tuple[str, ...],
    ovs_track: bool,
    ovs_enrich_flows: bool,
    ovs_enrich_rate: int,
    out: Path | None,
    out_rotate: int | None,
    print_too: bool,
    cmd: str | None,
    stop_after: int | None,
    ready_file: Path | None,
    buffer_size: int,
    spool_limit: int | None,
    allow_system_changes: bool,
    print_bpf: bool,
    no_cache: bool,
    perf_buffer: bool,
    load_each: bool,
    tracking_entries: int,
    decoders: int | None,
    text_format: TextFormat,
) -> None:
    """Trace packets on the running kernel.

    Without options packets are shown as they come in and go out of network devices, and where
    they are dropped. Needs root, or the capabilities that 'retis inspect' names.
    """
    if out_rotate is not None and out is None:
        raise UsageError("--out-rotate is about files: give -o too, or '-o FILE'")
    # Until stop.py takes over: being told to end is no reason to leave files behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    unless_ignored(signal.SIGHUP, signal.default_int_handler)
    cache = None if no_cache or print_bpf else CompileCache.of_user()
    # Before anything that takes long to import: it may have to import bcc meanwhile.
    with nullcontext() if print_bpf else Compiler(cache) as compiler:
        with importing():
            from retis_py.cli.collection import Collection, CollectOptions  # noqa: PLC0415

        Collection(
            CollectOptions(
                collectors=collectors,
                probes=probes,
                stack=stack,
                probe_stack=probe_stack,
                # What a profile asks for it asks for in full.
                defaults=not (collectors or probes or options.profiles),
                packet_filter=packet_filter,
                meta_filter=meta_filter,
                skb_sections=skb_sections,
                snaplen=snaplen,
                nft_verdicts=nft_verdicts,
                ovs_track=ovs_track,
                ovs_enrich_flows=ovs_enrich_flows,
                ovs_enrich_rate=ovs_enrich_rate,
                out=out,
                out_rotate=out_rotate,
                print_too=print_too,
                cmd=cmd,
                stop_after=stop_after,
                ready_file=ready_file,
                buffer_size=buffer_size,
                spool_limit=spool_limit,
                allow_system_changes=allow_system_changes,
                perf_buffer=perf_buffer,
                load_each=load_each,
                tracking_entries=tracking_entries,
                decoders=decoders,
                text_format=text_format,
                kconf=options.kconf,
            )
        ).run(compiler)
