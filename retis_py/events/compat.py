"""Event files of retis 1.5 and 1.6, brought to the form of 1.7 before they are typed.

What changed, release by release:

- 1.6: ``skb.packet``, ``skb.ns`` and ``skb.dev`` became the sections ``packet``, ``netns`` and
  ``dev``; in them ``packet.packet`` or ``packet.raw`` became ``data``, and ``ns.netns`` became
  ``inum``. ``ct.ct_status`` is new.
- 1.7: ``ct.tcp_state`` became ``proto_state``; ``startup.cmdline`` and ``startup.machine`` are new.
"""

import re
from typing import Any, NamedTuple

_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+].*)?", re.ASCII | re.DOTALL)


class Version(NamedTuple):
    """A release of retis, which numbers the file format too."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


OLDEST = Version(1, 5, 0)
CURRENT = Version(1, 7, 0)


def parse_version(text: str) -> Version | None:
    """Read ``v1.7.0``, ``1.6.1``, ``v1.7.0-12-gabcdef``, ``v1.7.0+retis-py.0.1``; None for others.

    What follows ``-`` or ``+`` does not count.
    """
    match = _VERSION.fullmatch(text)
    return Version(*(int(number) for number in match.groups())) if match else None


def upgrade(event: dict[str, Any], version: Version) -> None:
    """Bring an event of ``version`` to the current form, in place.

    ``event`` is what JSON made of it: anything may be missing or of another type, which is left
    for the typed decoding to refuse. Where old and new form are both there, the new one counts.
    """
    if version < (1, 6, 0):
        _upgrade_to_1_6(event)
    if version < (1, 7, 0):
        _upgrade_to_1_7(event)


def _upgrade_to_1_6(event: dict[str, Any]) -> None:
    skb = event.get("skb")
    if isinstance(skb, dict):
        for old, new in (("packet", "packet"), ("ns", "netns"), ("dev", "dev")):
            if old in skb:
                event.setdefault(new, skb.pop(old))
    _rename(event.get("packet"), "packet", "data")
    _rename(event.get("packet"), "raw", "data")
    _rename(event.get("netns"), "netns", "inum")
    for connection in _connections(event):
        connection.setdefault("ct_status", 0)


def _upgrade_to_1_7(event: dict[str, Any]) -> None:
    for connection in _connections(event):
        _rename(connection, "tcp_state", "proto_state")
    startup = event.get("startup")
    if isinstance(startup, dict):
        startup.setdefault("cmdline", "unknown")
        startup.setdefault(
            "machine",
            dict.fromkeys(("kernel_release", "kernel_version", "hardware_name"), "unknown"),
        )


def _connections(event: dict[str, Any]) -> list[dict[str, Any]]:
    """List the conntrack entries of the event: its own and the parent."""
    ct = event.get("ct")
    if not isinstance(ct, dict):
        return []
    parent = ct.get("parent")
    return [ct, parent] if isinstance(parent, dict) else [ct]


def _rename(section: Any, old: str, new: str) -> None:
    if isinstance(section, dict) and old in section:
        section.setdefault(new, section.pop(old))
