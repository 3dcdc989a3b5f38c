"""Which collectors there are, and which of them a collection takes."""

import difflib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retis_py.collectors.collector import Collector
from retis_py.collectors.ct import CtCollector
from retis_py.collectors.dev import DevCollector
from retis_py.collectors.nft import DEFAULT_NFT_VERDICTS, NftCollector, parse_nft_verdicts
from retis_py.collectors.ns import NsCollector
from retis_py.collectors.ovs import OvsCollector
from retis_py.collectors.skb import SkbCollector, SkbPart
from retis_py.collectors.skb_drop import SkbDropCollector
from retis_py.collectors.skb_tracking import SkbTrackingCollector
from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.kernel.host import Host
from retis_py.probes.available import Types

log = logging.getLogger(__name__)

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """The options that belong to single collectors."""

    skb_sections: frozenset[SkbPart] = frozenset()
    snaplen: int = 255
    nft_verdicts: int = parse_nft_verdicts(DEFAULT_NFT_VERDICTS)
    ovs_track: bool = False
    ovs_enrich_flows: bool = False


def all_collectors(options: CollectorOptions) -> tuple[Collector, ...]:
    """Return every collector, in the order in which they add to events."""
    return (
        SkbTrackingCollector(),
        SkbDropCollector(),
        SkbCollector(options.skb_sections, options.snaplen),
        DevCollector(),
        NsCollector(),
        CtCollector(),
        NftCollector(options.nft_verdicts),
        OvsCollector(options.ovs_track, options.ovs_enrich_flows),
    )


def choose_collectors(
    names: Iterable[str], options: CollectorOptions, host: Host, types: Types
) -> Sequence[Collector]:
    """Return the collectors named; ``auto`` stands for all that can run here.

    Raises:
        UsageError: there is no collector of that name.
        MissingPrerequisite: one that is named cannot run here.
    """
    wanted = list(dict.fromkeys(names)) or [AUTO]
    known = {collector.name: collector for collector in all_collectors(options)}
    for name in wanted:
        if name != AUTO and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UsageError(f"unknown collector '{name}': {hint}")
    chosen = []
    for name, collector in known.items():
        if name not in wanted and AUTO not in wanted:
            continue
        try:
            collector.check(host, types)
        except MissingPrerequisite as error:
            if name in wanted:
                raise
            log.debug("without %s: %s", name, error)
            continue
        chosen.append(collector)
    return chosen
