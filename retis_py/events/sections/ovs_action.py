"""``event_type`` ``action_execute`` of section ``ovs``: the kernel executes an action.

The action's own fields lie beside the common ones in JSON, so one struct holds them all.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from retis_py.events.sections.base import U16, U32, Data, Section

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class OvsAction(StrEnum):
    """Actions that retis 1.7 knows (enum ovs_action_attr, include/uapi/linux/openvswitch.h)."""

    OUTPUT = "output"
    USERSPACE = "userspace"
    SET = "set"
    PUSH_VLAN = "push_vlan"
    POP_VLAN = "pop_vlan"
    SAMPLE = "sample"
    RECIRC = "recirc"
    HASH = "hash"
    PUSH_MPLS = "push_mpls"
    POP_MPLS = "pop_mpls"
    SET_MASKED = "set_masked"
    CT = "ct"
    TRUNC = "trunc"
    PUSH_ETH = "push_eth"
    POP_ETH = "pop_eth"
    CT_CLEAR = "ct_clear"
    PUSH_NSH = "push_nsh"
    POP_NSH = "pop_nsh"
    METER = "meter"
    CLONE = "clone"
    CHECK_PKT_LEN = "check_pkt_len"
    ADD_MPLS = "add_mpls"
    DEC_TTL = "dec_ttl"
    DROP = "drop"


_KNOWN = frozenset(OvsAction)
_NAT_DIRS = (None, "src", "dst")
# Fields without which an action cannot be understood.
_REQUIRED = {
    OvsAction.OUTPUT: ("port",),
    OvsAction.RECIRC: ("id",),
    OvsAction.CT: ("flags", "zone_id"),
    OvsAction.DROP: ("reason",),
}

_OPTIONAL = {OvsAction.CT: ("nat",)}

# Bits of ``flags`` (retis's own), in the order of the text.
_CT_FLAGS = (
    (1 << 0, "commit"),
    (1 << 1, "force"),
    (1 << 10, "persistent"),
    (1 << 9, "hash"),
    (1 << 11, "random"),
)


class CtNat(Data):
    """Argument of ct(nat): the range to translate to."""

    dir: str | None = None  # "src", "dst"
    min_addr: str | None = None
    max_addr: str | None = None
    min_port: U16 | None = None
    max_port: U16 | None = None


class ActionExecute(Section, tag_field="event_type", tag="action_execute"):
    """An action on a packet (tracepoint ovs_do_execute_action)."""

    recirc_id: U32  # 0: first pass
    action: str | None = None  # an OvsAction; others are read and shown as "unspec"
    queue_id: U32 | None = None  # the upcall that this execution answers
    port: U32 | None = None  # output: data path port
    id: U32 | None = None  # recirc
    flags: U32 | None = None  # ct
    zone_id: U16 | None = None  # ct
    nat: CtNat | None = None  # ct
    reason: U32 | None = None  # drop

    @property
    def known(self) -> OvsAction | None:
        """The action, if it is an OvsAction and has the fields that it needs."""
        if self.action not in _KNOWN:
            return None
        action = OvsAction(self.action)
        if any(getattr(self, name) is None for name in _REQUIRED.get(action, ())):
            return None
        if action is OvsAction.CT and self.nat is not None and self.nat.dir not in _NAT_DIRS:
            return None
        return action

    def reference_form(self) -> "ActionExecute":
        """Return what retis 1.7 makes of it: no unknown action, no fields of other actions."""
        form = ActionExecute(recirc_id=self.recirc_id, queue_id=self.queue_id)
        action = self.known
        if action is None:
            return form
        form.action = action.value
        for name in (*_REQUIRED.get(action, ()), *_OPTIONAL.get(action, ())):
            setattr(form, name, getattr(self, name))
        return form

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``[recirc_id 0x..] exec ACTION [q ID]``."""
        recirc = f"[recirc_id 0x{self.recirc_id:x}] " if self.recirc_id else ""
        queue = f" q {self.queue_id}" if self.queue_id is not None else ""
        return f"{recirc}exec {self._action_text()}{queue}"

    def _action_text(self) -> str:
        match self.known:
            case None:
                text = "unspec"
            case OvsAction.OUTPUT:
                text = f"oport {self.port}"
            case OvsAction.SET:
                text = "tunnel_set"
            case OvsAction.RECIRC:
                text = f"recirc 0x{self.id:x}"
            case OvsAction.DROP:
                text = f"drop {self.reason}"
            case OvsAction.CT:
                text = self._ct_text()
            case action:
                text = action.value
        return text

    def _ct_text(self) -> str:
        flags = self.flags or 0
        parts = [f"ct zone {self.zone_id}"]
        if self.nat is not None:
            parts.append(f"nat({self.nat.dir})" if self.nat.dir is not None else "nat")
        names = [name for bit, name in _CT_FLAGS if flags & bit]
        if names:
            parts.append(",".join(names))
        return " ".join(parts)
