"""Section ``tracking``: place in a series. Only sorted files have it."""

from typing import TYPE_CHECKING

from retis_py.events.sections.base import U32, Section
from retis_py.events.sections.skb_tracking import SkbTracking

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Tracking(Section):
    """Series and index in it."""

    skb: SkbTracking  # of the first packet of the series
    idx: U32  # from 0

    def text(self, fmt: "TextFormat") -> str:
        """``#TRACKINGID (skb ADDR) n IDX``."""
        return f"{self.skb.text(fmt)} n {self.idx}"
