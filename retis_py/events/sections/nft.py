"""Section ``nft``: a step of the nf_tables evaluation."""

from typing import TYPE_CHECKING

from retis_py.events.escape import escape
from retis_py.events.sections.base import I64, Section
from retis_py.events.wire import Wire, text

if TYPE_CHECKING:
    from retis_py.events.text import TextFormat


class Nft(Section):
    """Where in the ruleset, and what came of it (struct nft_traceinfo)."""

    table_name: str
    table_handle: I64
    chain_name: str
    chain_handle: I64
    verdict: str  # "accept", "drop", "jump", ...
    policy: bool  # the verdict is the chain's policy, no rule's
    rule_handle: I64 | None = None
    verdict_chain_name: str | None = None  # where a jump or goto leads

    def text(self, fmt: "TextFormat") -> str:  # noqa: ARG002
        """``table T (H) chain C (H) [handle H] VERDICT [(policy)] [chain C]``."""
        parts = [
            f"table {escape(self.table_name)} ({self.table_handle})",
            f"chain {escape(self.chain_name)} ({self.chain_handle})",
        ]
        if self.rule_handle is not None:
            parts.append(f"handle {self.rule_handle}")
        parts.append(escape(self.verdict))
        if self.policy:
            parts.append("(policy)")
        if self.verdict_chain_name is not None:
            parts.append(f"chain {escape(self.verdict_chain_name)}")
        return " ".join(parts)


# Names have up to 255 bytes (NFT_NAME_MAXLEN, include/uapi/linux/netfilter/nf_tables.h). Only a
# jump or goto has a target.
WIRE = Wire(
    "nft",
    "u64 table_handle; u64 chain_handle; u64 rule_handle; s32 verdict; u32 policy;"
    " char table_name[256]; char chain_name[256]",
)
TARGET_WIRE = Wire("nft_target", "char name[256]")

VERDICTS = {
    -1: "continue",
    -2: "break",
    -3: "jump",
    -4: "goto",
    -5: "return",
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    4: "repeat",
}
"""Names of verdicts' codes (enum nft_verdicts, and NF_* of include/uapi/linux/netfilter.h)."""


def from_wire(  # noqa: PLR0917 (the members of the part, in their order)
    table_handle: int,
    chain_handle: int,
    rule_handle: int,
    verdict: int,
    policy: int,
    table_name: bytes,
    chain_name: bytes,
) -> Nft:
    """Build the section from its part; handles count from 1."""
    return Nft(
        table_name=text(table_name),
        table_handle=table_handle,
        chain_name=text(chain_name),
        chain_handle=chain_handle,
        verdict=VERDICTS.get(verdict, str(verdict)),
        policy=bool(policy),
        rule_handle=rule_handle or None,
    )


def target_from_wire(name: bytes) -> str:
    """Build ``verdict_chain_name`` from its part."""
    return text(name)
