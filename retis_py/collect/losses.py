"""What was lost, why and where, as the kernel counted it."""

import struct
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from retis_py.collect.attach import Attached
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.loader import Loader

_KEY = struct.Struct("=QII")  # struct loss_key: probe, type, cause
_COUNT = struct.Struct("=Q")


class LossCause(StrEnum):
    """Why events were lost; the first ones in the order of ``enum loss_cause``."""

    RING_FULL = "ring full"
    BUFFER_BUSY = "buffer busy"
    MAP_FULL = "map full"
    TRACKING_FULL = "tracking map full"
    REENTERED = "probe hit while it ran"
    SPOOL_FULL = "no room in the spool at the end"


_NUMBERED = tuple(LossCause)

# What is lost there is no event but a packet's id, or its end.
_TRACKING = "the core's own probes, which track packets"

Losses = Counter[tuple[str, LossCause]]
"""Events lost by probe and cause."""


def read_losses(loader: Loader, attached: Sequence[Attached], known: KnownProbes) -> Losses:
    """Read the counts that the program and the kernel keep."""
    losses: Losses = Counter()
    for key, value in loader.maps["losses"].items():
        address, kind, cause = _KEY.unpack(key)
        probe = known.probe(kind, address)
        losses[
            str(probe) if probe else _TRACKING,
            _NUMBERED[cause],
        ] += _COUNT.unpack(value)[0]
    for group in attached:
        # What one copy misses another sees; all of them at once is the exception.
        misses = min(loader.program_misses(p) for p in (group.program, *group.spares))
        misses += sum(loader.link_misses(link) for link in group.links)
        if misses:
            losses[_label(group), LossCause.REENTERED] += misses
    return losses


def _label(attached: Attached) -> str:
    names = [str(probe) for probe in attached.probes] or [_TRACKING]
    if len(names) > 3:
        return f"{names[0]} and {len(names) - 1} others"
    return ", ".join(names)
