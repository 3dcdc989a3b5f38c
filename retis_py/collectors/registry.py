"""Which collectors there are, and which of them a collection takes.

Those that need much of their own are imported when they are taken, which makes others start sooner.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from retis_py.collectors.collector import Collector
from retis_py.collectors.dev import DevCollector
from retis_py.collectors.nft_verdicts import DEFAULT_NFT_VERDICTS, parse_nft_verdicts
from retis_py.collectors.ns import NsCollector
from retis_py.collectors.skb import SkbCollector, SkbPart
from retis_py.collectors.skb_drop import SkbDropCollector
from retis_py.collectors.skb_tracking import SkbTrackingCollector
from retis_py.errors import MissingPrerequisite, UsageError
from retis_py.kernel.host import Host
from retis_py.probes.available import Types
from retis_py.similar import similar

log = logging.getLogger(__name__)

AUTO = "auto"


class CollectorOptions(Struct, frozen=True):
    """The options that belong to single collectors."""

    skb_sections: frozenset[SkbPart] = frozenset()
    snaplen: int = 255
    nft_verdicts: int = parse_nft_verdicts(DEFAULT_NFT_VERDICTS)
    ovs_track: bool = False
    ovs_enrich_flows: bool = False


def _ct(_options: CollectorOptions) -> Collector:
    from retis_py.collectors.ct import CtCollector  # noqa: PLC0415 (where it is taken)

    return CtCollector()


def _nft(options: CollectorOptions) -> Collector:
    from retis_py.collectors.nft import NftCollector  # noqa: PLC0415 (where it is taken)

    return NftCollector(options.nft_verdicts)


def _ovs(options: CollectorOptions) -> Collector:
    from retis_py.collectors.ovs import OvsCollector  # noqa: PLC0415 (where it is taken)

    return OvsCollector(options.ovs_track, options.ovs_enrich_flows)


# By name, in the order in which they add to events.
_COLLECTORS: dict[str, Callable[[CollectorOptions], Collector]] = {
    "skb-tracking": lambda _: SkbTrackingCollector(),
    "skb-drop": lambda _: SkbDropCollector(),
    "skb": lambda options: SkbCollector(options.skb_sections, options.snaplen),
    "dev": lambda _: DevCollector(),
    "ns": lambda _: NsCollector(),
    "ct": _ct,
    "nft": _nft,
    "ovs": _ovs,
}


COLLECTOR_NAMES = tuple(_COLLECTORS)


def make_collector(name: str, options: CollectorOptions) -> Collector:
    """Return the collector of that name, one of COLLECTOR_NAMES."""
    return _COLLECTORS[name](options)


def all_collectors(options: CollectorOptions) -> tuple[Collector, ...]:
    """Return every collector, in the order in which they add to events."""
    return tuple(make_collector(name, options) for name in COLLECTOR_NAMES)


def choose_collectors(
    names: Iterable[str], options: CollectorOptions, host: Host, types: Types
) -> Sequence[Collector]:
    """Return the collectors named; ``auto`` stands for all that can run here.

    Raises:
        UsageError: there is no collector of that name.
        MissingPrerequisite: one that is named cannot run here.
    """
    wanted = list(dict.fromkeys(names)) or [AUTO]
    for name in wanted:
        if name != AUTO and name not in COLLECTOR_NAMES:
            near = similar(name, COLLECTOR_NAMES)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COLLECTOR_NAMES)}"
            raise UsageError(f"unknown collector '{name}': {hint}")
    chosen = []
    for name in COLLECTOR_NAMES:
        if name not in wanted and AUTO not in wanted:
            continue
        collector = make_collector(name, options)
        try:
            collector.check(host, types)
        except MissingPrerequisite as error:
            if name in wanted:
                raise
            log.debug("without %s: %s", name, error)
            continue
        chosen.append(collector)
    return chosen
