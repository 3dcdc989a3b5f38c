"""What the process that decodes does: imported there alone, while the other one loads programs."""

import logging
import os

from retis_py.cli.orphan import ENDED_EARLY, bound_wait_when_alone, is_alone
from retis_py.cli.outputs import Outputs
from retis_py.cli.running import WantedOutput, where_unread
from retis_py.collect.channel import Channel, Failed, Functions
from retis_py.collect.decoding import Decoding, Enricher
from retis_py.collect.decoding_pool import choose_helpers
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collect.own_symbols import OwnSymbols
from retis_py.collect.plan import Plan
from retis_py.collect.privileges import Trial, give_up_privileges, writes_to
from retis_py.collect.probe_stack import StackWatcher
from retis_py.collect.spool import Spool
from retis_py.errors import OUT_OF_MEMORY, RetisError
from retis_py.kernel.capabilities import Capability
from retis_py.kernel.host import Host
from retis_py.private_files import calling_user

log = logging.getLogger(__name__)


def decode_spool(
    plan: Plan,
    host: Host,
    spool: Spool,
    channel: Channel,
    wanted: WantedOutput,
) -> int:
    """Decode what comes into the spool; return the exit code.

    Raises:
        RetisError: the standard output is closed.
    """
    outputs = Outputs(wanted.out, wanted.rotate, wanted.text_format)
    watcher = None
    if plan.stack_probing is not None:
        watcher = StackWatcher(
            lambda names: channel.send(Functions(names)),
            plan.probes,
            plan.stack_probing.hidden,
            plan.stack_probing.show_all,
        )
    has_stacks = watcher is not None or any(probe.stack for probe in plan.probes)
    shared = host.symbols.open() if has_stacks else ()
    kept: list[Capability] = []
    trials: list[Trial] = []
    if outputs.creates_files and wanted.out is not None:
        trials.append(writes_to(wanted.out.parent))
        if calling_user() is not None:
            kept.append(Capability.CHOWN)  # the files are to be that user's
    enricher = None
    if wanted.enrich_rate is not None:
        enricher = _enricher(wanted.enrich_rate)
        # Sockets are another user's, and in another mount namespace.
        kept += [Capability.DAC_OVERRIDE, Capability.SYS_PTRACE]
    helpers = wanted.decoders
    if helpers is None:
        helpers = choose_helpers(len(os.sched_getaffinity(0)))
    symbols = OwnSymbols(host.symbols.resolve)
    decoding = Decoding(
        spool,
        channel,
        JsonDecoder(plan.program.parts, plan.probes, symbols.resolve),
        outputs,
        symbols=symbols,
        give_up_privileges=lambda: give_up_privileges(kept, trials),
        watcher=watcher,
        enricher=enricher,
        limit=wanted.limit,
        helpers=helpers,
        shared=shared,
    )
    bound_wait_when_alone(spool, decoding, outputs)
    try:
        cut_off = decoding.run()
    except (RetisError, MemoryError) as error:
        outputs.discard()
        if isinstance(error, MemoryError):
            error = RetisError(OUT_OF_MEMORY)
        if is_alone(channel):
            log.error("%s: %s; %s", ENDED_EARLY, error, where_unread(spool.control, spool.path))
        else:
            channel.send(Failed(type(error).__name__, str(error), outputs.written))
        return 1
    outputs.close()
    if not spool.control.received and is_alone(channel):
        spool.close()  # it had not come to capturing anything
    if cut_off:
        log.error(
            "%s: the %s event(s) that it had received are %s",
            ENDED_EARLY,
            f"{spool.control.events:,}",
            "in the file" if outputs.has_file else "shown",
        )
        spool.close()
    return int(cut_off)


def _enricher(rate: int) -> Enricher:
    from retis_py.collect.enrich import FlowEnricher  # noqa: PLC0415 (seldom)
    from retis_py.collect.flow_questions import FlowQuestions  # noqa: PLC0415

    return FlowEnricher(FlowQuestions(rate))
