"""Expressions of ``--where``: refused with one line, or the same verdict on events and lines."""

import json

from fuzz.target import Target, assert_safe
from interop.event_strategies import FULL, OVS_KINDS
from retis_py.errors import UsageError
from retis_py.events.escape import escape
from retis_py.events.event import decode
from retis_py.process.where import compile_where
from retis_py.process.where_fields import comparable

_EVENTS = [FULL, *({"common": {"timestamp": 1}, "ovs": kind} for kind in OVS_KINDS)]
_LINES = [json.dumps(event).encode() for event in _EVENTS]
_TYPED = [decode(line) for line in _LINES]
SEEDS = (
    b'dev.name == "eth0"',
    b"not (packet.len > 60 or skb.meta.len <= 0x10) and skb-drop",
    b"kernel.symbol ~ 'ip_*' and common.timestamp in (1, 2, 3)",
    b'ct.state == "established" and ct.parent',
    b'ovs.ufid == "00000001-0000-0002-0000-000300000004"',
    b'skb-drop.drop_reason != "NO_SOCKET" and netns.inum >= 4026531840',
    b'ovs-detrace.ofpflows ~ "table=*"',
)


def target() -> Target:
    """See the module."""
    words = [b"==", b"!=", b"<=", b"~", b" in ", b"not ", b" and ", b" or ", b'"', b"'", b"(", b")"]
    return Target(check, SEEDS, [*words, *(f.path.encode() for f in comparable())], max_length=400)


def check(data: bytes) -> None:
    """Compile it and ask it."""
    text = data.decode(errors="surrogateescape")
    try:
        where = compile_where(text)
    except UsageError as error:
        assert_safe(escape(str(error)))
        assert len(str(error)) < 1000 + 10 * len(text)
        return
    for event, line in zip(_TYPED, _LINES, strict=True):
        assert where.matches(event) is where.matches_line(line)
