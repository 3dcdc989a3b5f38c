"""What the spool says of a collection, and what can be made of that when it is read later."""

from pathlib import Path

import msgspec

from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.plan import Plan
from retis_py.collect.recorded_types import Answers, recording, replaying
from retis_py.collect.spool_format import DescribedCollectors, Description
from retis_py.collectors.collector import Part
from retis_py.collectors.registry import COLLECTOR_NAMES, CollectorOptions, make_collector
from retis_py.collectors.skb import SkbPart
from retis_py.probes.available import Types

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def describe(plan: Plan, known: KnownProbes, startup: bytes, rings: int) -> Description:
    """Return the description of a collection, with its startup event (JSON)."""
    answers: Answers = {}
    types = recording(plan.types, answers)
    parts = [part for collector in plan.collectors for part in collector.parts(types)]
    options = plan.collector_options
    probing = plan.stack_probing
    return msgspec.structs.replace(
        known.describe(),
        startup=msgspec.Raw(startup),
        boot_id=boot_id(),
        rings=rings,
        hidden=sorted(probing.hidden) if probing and not probing.show_all else None,
        collectors=DescribedCollectors(
            [collector.name for collector in plan.collectors],
            sorted(options.skb_sections),
            options.ovs_track,
            [(part.wire.name, part.wire.members) for part in parts],
            answers,
        ),
    )


def described_parts(described: DescribedCollectors, types: Types | None) -> list[Part]:
    """Return the parts of events as they were described.

    ``types`` are this kernel's where it is the one that was traced: for what a collector asks only
    when an event needs it.

    Raises:
        ValueError: they are not those that we know.
    """
    options = CollectorOptions(
        skb_sections=frozenset(map(SkbPart, described.skb_sections)),
        ovs_track=described.ovs_track,
    )
    unknown = [name for name in described.names if name not in COLLECTOR_NAMES]
    if unknown:
        raise ValueError(f"unknown collector {unknown[0]}")
    told = replaying(described.types, types)
    collectors = [make_collector(name, options) for name in described.names]
    parts = [part for collector in collectors for part in collector.parts(told)]
    if [(part.wire.name, part.wire.members) for part in parts] != described.parts:
        raise ValueError("events of another layout")
    return parts


def boot_id() -> str:
    """Return what tells this boot of the kernel from others: addresses differ."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
