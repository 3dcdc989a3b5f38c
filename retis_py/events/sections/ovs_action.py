"""``event_type`` ``action_execute`` of section ``ovs``: the kernel executes an action.

The action's own fields lie beside the common ones in JSON, so one struct holds them all.
"""

from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING, Any

from retis_py.events.escape import escape
from retis_py.events.sections.base import U16, U32, Data
from retis_py.events.sections.ovs_kind import Kind
from retis_py.events.sections.variant import Choice, Variant, class_name, variants

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
_CLASSES = variants(map(class_name, OvsAction))
# Fields without which an action cannot be understood.
_REQUIRED = {
    OvsAction.OUTPUT: ("port",),
    OvsAction.RECIRC: ("id",),
    OvsAction.CT: ("flags", "zone_id"),
    OvsAction.DROP: ("reason",),
}

_OPTIONAL = {OvsAction.CT: ("nat",)}


class CtFlag(IntFlag):
    """Bits of a ct action's ``flags``: retis's own numbers, of those that its text shows."""

    COMMIT = 1 << 0
    FORCE = 1 << 1
    NAT_ADDRESSES = 1 << 7  # nat has addresses
    NAT_PORTS = 1 << 8  # and ports
    HASH = 1 << 9
    PERSISTENT = 1 << 10
    RANDOM = 1 << 11


# Those with a name, in the order of the text.
_CT_FLAGS = (CtFlag.COMMIT, CtFlag.FORCE, CtFlag.PERSISTENT, CtFlag.HASH, CtFlag.RANDOM)


class NatDirection(Choice):
    """Which address is translated."""

    SRC = "src"
    DST = "dst"


class CtNat(Data):
    """Argument of ct(nat): the range to translate to."""

    dir: str | None = None  # "src", "dst"
    min_addr: str | None = None
    max_addr: str | None = None
    min_port: U16 | None = None
    max_port: U16 | None = None

    def text(self, flags: int) -> str:
        """``nat[(DIR[=MIN[-MAX]][:MIN[-MAX]])]``, ranges where ``flags`` say that they count."""
        if self.dir is None:
            return "nat"
        text = f"nat({self.dir}"
        if flags & CtFlag.NAT_ADDRESSES and self.min_addr is not None and self.max_addr is not None:
            text += f"={_range_text(escape(self.min_addr), escape(self.max_addr))}"
        if flags & CtFlag.NAT_PORTS and self.min_port is not None and self.max_port is not None:
            text += f":{_range_text(str(self.min_port), str(self.max_port))}"
        return f"{text})"


def _range_text(lowest: str, highest: str) -> str:
    return lowest if lowest == highest else f"{lowest}-{highest}"


class ActionExecute(Kind, tag_field="event_type", tag="action_execute"):
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

    def to_dict(self) -> Any:
        """As others', in the form that retis 1.7 makes of it."""
        return Data.to_dict(self.reference_form())

    def field_values(self) -> dict[str, Any]:
        """Return the common fields; those of the action are in ``action``."""
        form = self.reference_form()
        return {
            "recirc_id": form.recirc_id,
            "queue_id": form.queue_id,
            "action": form._action_apart(),
        }

    def _action_apart(self) -> Variant | None:
        """Return the known action of a reference form: of its own class, with its fields."""
        action = self.known
        if action is None:
            return None
        names = (*_REQUIRED.get(action, ()), *_OPTIONAL.get(action, ()))
        values = {name: getattr(self, name) for name in names}
        built = {name: self.to_dict()[name] for name in names if values[name] is not None}
        if self.nat is not None:
            direction = self.nat.dir and NatDirection(self.nat.dir)
            fields = {name: getattr(self.nat, name) for name in CtNat.__struct_fields__}
            values["nat"] = Variant(self.nat.to_dict(), fields | {"dir": direction})
        attributes: dict[str, Any] = {action.value: Variant(built, values)}
        if action is OvsAction.DROP:  # its only field stands for it
            attributes = values
        elif not names:
            attributes = {"_0": None}
        return _CLASSES[class_name(action.value)]({"action": action.value, **built}, attributes)

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
            parts.append(self.nat.text(flags))
        names = [str(flag.name).lower() for flag in _CT_FLAGS if flags & flag]
        if names:
            parts.append(",".join(names))
        return " ".join(parts)
