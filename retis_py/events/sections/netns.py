"""Section ``netns``: the network namespace (collector ``ns``)."""

from typing import TYPE_CHECKING

from retis_py.events.sections.base import U32, U64, Section
from retis_py.events.wire import Wire

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Netns(Section):
    """Identity of a struct net."""

    inum: U32  # net.ns.inum, as in readlink /proc/PID/ns/net; used again after deletion
    cookie: U64 | None = None  # net.net_cookie, never used again; since Linux 5.12

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``ns [COOKIE/]INUM``."""
        return f"ns {self.inum}" if self.cookie is None else f"ns 0x{self.cookie:x}/{self.inum}"


WIRE = Wire("netns", "u64 cookie; u32 inum; u32 has_cookie")


def from_wire(cookie: int, inum: int, has_cookie: int) -> Netns:
    """Build the section from its part."""
    return Netns(inum, cookie if has_cookie else None)
