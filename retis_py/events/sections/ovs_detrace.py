"""Section ``ovs-detrace``: flows behind a data path flow, asked of ovs-vswitchd."""

from typing import TYPE_CHECKING, NamedTuple

from retis_py.events.escape import escape
from retis_py.events.sections.base import U32, U64, Section

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Ufid(NamedTuple):
    """Unique flow id (struct sw_flow_id), 32 bits each; an array in JSON."""

    a: U32
    b: U32
    c: U32
    d: U32

    def __repr__(self) -> str:
        return repr(self.to_dict())

    def show(self) -> str:
        """Write it as OVS does: ``00000001-0000-0002-0000-000300000004``."""
        return ufid_text(self)

    def to_dict(self) -> list[int]:
        """Return a plain list, as in the JSON of the event."""
        return list(self)


def ufid_text(ufid: tuple[int, int, int, int]) -> str:
    """Write a flow id as OVS does: ``00000001-0000-0002-0000-000300000004``."""
    a, b, c, d = ufid
    return f"{a:08x}-{b >> 16:04x}-{b & 0xFFFF:04x}-{c >> 16:04x}-{c & 0xFFFF:04x}{d:08x}"


class OvsDetrace(Section):
    """Enriches ``flow_lookup`` events of the same (ufid, flow, sf_acts)."""

    ufid: Ufid
    flow: U64  # address of the struct sw_flow
    sf_acts: U64  # address of its struct sw_flow_actions
    dpflow: str  # as ovs-dpctl dump-flows has it
    ofpflows: list[str]  # as ovs-ofctl dump-flows has them

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``ufid:UFID DPFLOW``, then the OpenFlow flows, a line each."""
        flows = "\n    ".join(escape(flow) for flow in self.ofpflows)
        return f"ufid:{ufid_text(self.ufid)} {escape(self.dpflow)}\nopenflow:{flows}"
