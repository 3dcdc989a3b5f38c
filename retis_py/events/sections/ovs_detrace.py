"""Section ``ovs-detrace``: flows behind a data path flow, asked of ovs-vswitchd."""

from typing import TYPE_CHECKING

from retis_py.events.escape import escape
from retis_py.events.sections.base import U32, U64, Section

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat

Ufid = tuple[U32, U32, U32, U32]  # unique flow id (struct sw_flow_id), 32 bits each


def ufid_text(ufid: Ufid) -> str:
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
