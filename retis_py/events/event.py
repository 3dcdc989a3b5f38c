"""An event: sections, of which ``common`` is always there. The registry of all sections."""

from typing import Any

import msgspec

from retis_py.events.sections.base import Data
from retis_py.events.sections.common import Common
from retis_py.events.sections.ct import Ct
from retis_py.events.sections.dev import Dev
from retis_py.events.sections.kernel import Kernel
from retis_py.events.sections.netns import Netns
from retis_py.events.sections.nft import Nft
from retis_py.events.sections.ovs import Ovs
from retis_py.events.sections.ovs_action import ActionExecute
from retis_py.events.sections.ovs_detrace import OvsDetrace
from retis_py.events.sections.packet import Packet
from retis_py.events.sections.skb import Skb
from retis_py.events.sections.skb_drop import SkbDrop
from retis_py.events.sections.skb_tracking import SkbTracking
from retis_py.events.sections.startup import Startup
from retis_py.events.sections.tracking import Tracking
from retis_py.events.sections.userspace import Userspace
from retis_py.events.text import TextFormat, event_text


class Event(
    Data,
    rename={
        "skb_tracking": "skb-tracking",
        "skb_drop": "skb-drop",
        "ovs_detrace": "ovs-detrace",
    },
):
    """One event, sections in the order of the file. A new section is a line here."""

    common: Common
    kernel: Kernel | None = None
    userspace: Userspace | None = None
    tracking: Tracking | None = None
    skb_tracking: SkbTracking | None = None
    skb_drop: SkbDrop | None = None
    packet: Packet | None = None
    skb: Skb | None = None
    netns: Netns | None = None
    dev: Dev | None = None
    ovs: Ovs | None = None
    ovs_detrace: OvsDetrace | None = None
    nft: Nft | None = None
    ct: Ct | None = None
    startup: Startup | None = None

    def __str__(self) -> str:
        return event_text(self, TextFormat())

    def __getitem__(self, name: str) -> Any:
        """Return the section of a name, written as in JSON or as the attribute.

        Raises KeyError where the event has no such section.
        """
        section = self._section(name)
        if section is None:
            raise KeyError(name)
        return section

    def __contains__(self, name: str) -> bool:
        return self._section(name) is not None

    def __hash__(self) -> int:
        return hash(self.common.timestamp)

    def sections(self) -> list[str]:
        """List the names of the event's sections, as attributes are called, in alphabetic order."""
        return [name for name in _SECTIONS if getattr(self, name) is not None]

    def to_dict(self) -> dict[str, Any]:
        """Built-in types by JSON key, bytes in base64, as retis's Python library gives them."""
        event = self
        if isinstance(self.ovs, ActionExecute):
            event = msgspec.structs.replace(self, ovs=self.ovs.reference_form())
        # Through JSON, since msgspec.to_builtins leaves tuples as they are.
        built: dict[str, Any] = msgspec.json.decode(encode(event))
        return built

    def _section(self, name: object) -> Any:
        if not isinstance(name, str):
            message = f"a section's name is a str, not '{type(name).__name__}'"
            raise TypeError(message)
        attribute = name.replace("-", "_")
        return getattr(self, attribute) if attribute in _SECTIONS else None


class Identity(
    Data,
    rename={"skb_tracking": "skb-tracking", "skb_drop": "skb-drop"},
    forbid_unknown_fields=True,
):
    """The sections of an event that tell its packet and what became of it."""

    tracking: Tracking | None = None
    skb_tracking: SkbTracking | None = None
    skb_drop: SkbDrop | None = None


_SECTIONS = sorted(Event.__struct_fields__)

_encoder = msgspec.json.Encoder()

encode = _encoder.encode
"""Event, or list of them, to a line of JSON in bytes, without the newline."""

encode_into = _encoder.encode_into
"""The same into a bytearray: ``encode_into(event, buffer, -1)`` appends."""

decode = msgspec.json.Decoder(Event).decode
"""Line of JSON to an Event. Raises msgspec.DecodeError, UnicodeDecodeError, RecursionError."""

decode_series = msgspec.json.Decoder(list[Event]).decode
"""Line of a sorted file to its events, with the same errors."""
