"""Many events out of a few drawn ones: sections of one beside those of another.

Drawing an event takes hypothesis milliseconds; putting drawn sections together takes microseconds,
and finds what depends on which sections stand together.
"""

import base64
from collections.abc import Iterator, Sequence
from random import Random

from interop.event_strategies import FULL, OVS_KINDS, Json
from interop.packet_builders import samples
from interop.packet_strategies import variants

_FULL_OF_EACH_KIND: tuple[Json, ...] = (FULL, *(FULL | {"ovs": kind} for kind in OVS_KINDS))
# Startup is long, and elsewhere alone in its file.
_SHARES = {"common": 1.0, "startup": 0.05}
_SAMPLES = tuple(samples().values())


def mixed(drawn: Sequence[Json], random: Random, count: int) -> Iterator[Json]:
    """Yield ``count`` events whose sections are those of ``drawn`` and of one with every field.

    Packets are drawn ones and, as often, one of each stack of protocols, damaged or not. Sections
    stand in the order of ``FULL``, which is that of the file; each is there half the time.
    """
    pool = (*drawn, *_FULL_OF_EACH_KIND)
    values = {name: [event[name] for event in pool if name in event] for name in FULL}
    for _ in range(count):
        names = [name for name in FULL if random.random() < _SHARES.get(name, 0.5)]
        event = {name: random.choice(values[name]) for name in names}
        if random.random() < 0.8:  # a usual time: drawn ones are the ends of the range
            event["common"] = event["common"] | {"timestamp": random.randrange(1, 10**15)}
        if "packet" in event and random.random() < 0.5:
            event["packet"] = _packet(random)
        yield event


def _packet(random: Random) -> Json:
    frame = random.choice(_SAMPLES)
    if random.random() < 0.5:
        (frame,) = variants(frame, random, 1)
    data = base64.b64encode(frame).decode()
    return {"len": len(frame), "capture_len": len(frame), "data": data}
